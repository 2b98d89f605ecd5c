"""An ASGI application behind a real protocol, ours or uvicorn's own, on an event loop in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvloop
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frontend.http_exchange import AsgiApp
from frontend.http_protocol import NightScanProtocol, TransportState

uvloop.new_event_loop().close()  # libuv makes a pipe for the whole process with its first loop; not a test's leak


@contextmanager
def serve(app: AsgiApp, protocol: type[HttpToolsProtocol] = NightScanProtocol) -> Iterator[tuple[str, int]]:
    """The address it listens at. No lifespan, no worker, no signals."""
    host = _Host(app, protocol)
    thread = threading.Thread(target=host.run, name="lane-host")
    thread.start()
    host.listening.wait(10)
    try:
        yield host.address
    finally:
        host.stop()
        thread.join()


class _Host:
    def __init__(self, app: AsgiApp, protocol: type[HttpToolsProtocol]) -> None:
        self._protocol = protocol
        self.listening = threading.Event()
        self.address = ("", 0)
        self._config = Config(app=app, http=protocol, ws="none", log_config=None, proxy_headers=False)
        self._state = TransportState()
        self._loop = uvloop.new_event_loop()
        self._ended = asyncio.Event()

    def run(self) -> None:
        self._config.load()
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self) -> None:
        server: Any = await self._loop.create_server(self._make_protocol, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()
        self.listening.set()
        await self._ended.wait()
        server.close()
        for connection in list(self._state.connections):
            assert isinstance(connection, HttpToolsProtocol)
            connection.transport.abort()
        await server.wait_closed()
        await asyncio.gather(*self._state.tasks)

    def _make_protocol(self) -> HttpToolsProtocol:
        return self._protocol(self._config, self._state, {}, self._loop)
