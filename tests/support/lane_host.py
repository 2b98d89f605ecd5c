"""An ASGI application behind a real server, ours or uvicorn, on an event loop in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop

from frontend.server.protocol import NightScanProtocol
from frontend.server.transport_limits import TransportLimits
from frontend.server.transport_state import AsgiApp, TransportState
from tests.support.wait import wait_for

uvloop.new_event_loop().close()  # libuv makes a pipe for the whole process with its first loop; not a test's leak

SWEEP_S = 0.05


@contextmanager
def serve(app: AsgiApp, limits: TransportLimits = TransportLimits()) -> Iterator[tuple[str, int]]:
    """The address it listens at. No lifespan, no worker, no signals."""
    with hosted(app, limits) as host:
        yield host.address


@contextmanager
def hosted(app: AsgiApp, limits: TransportLimits = TransportLimits()) -> Iterator[Host]:
    """As `serve`, for a look inside."""
    host = Host(app, limits)
    thread = threading.Thread(target=host.run, name="lane-host")
    thread.start()
    host.listening.wait(10)
    try:
        yield host
    finally:
        host.stop()
        thread.join()


class Host:
    """Our protocol on a loop. `state` may be read from the test's thread."""

    def __init__(self, app: AsgiApp, limits: TransportLimits) -> None:
        self.listening = threading.Event()
        self.address = ("", 0)
        self._loop = uvloop.new_event_loop()
        self.state = TransportState(app, loop=self._loop, limits=limits)
        self._ended = asyncio.Event()

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self) -> None:
        server: Any = await self._loop.create_server(lambda: NightScanProtocol(self.state), "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()
        self.listening.set()
        while not self._ended.is_set():
            self.state.sweep()
            await asyncio.sleep(SWEEP_S)
        server.close()
        for connection in list(self.state.connections):
            connection.transport.abort()
        await server.wait_closed()
        await asyncio.gather(*self.state.tasks)


@contextmanager
def serve_by_uvicorn(app: AsgiApp) -> Iterator[tuple[str, int]]:
    """The address at which uvicorn serves `app`, as it comes."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, name="uvicorn-host")
    thread.start()
    try:
        wait_for(lambda: server.started, "uvicorn listens")
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join()
