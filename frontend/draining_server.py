"""The uvicorn server of one frontend, and how it leaves without losing a request.

Leaving, for whatever reason: close the listening socket; announce `Connection: close` on every response not yet begun;
read idle connections for `drain_s` more, since a request may be on its way; close them; wait for the rest until
`graceful_timeout_s`; answer 503 to whoever still waits; cut. The heartbeat goes on all the time, or else the master
would take a draining frontend for a hung one.

Signals set a flag and nothing else. Their handlers are never taken off: a second signal, or one that comes while the
interpreter ends, must not kill the process before gunicorn's `worker_exit` hook has run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from email.utils import formatdate

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.server import Server

from frontend.acceptor import Acceptor
from frontend.crowd import Crowd
from frontend.http_protocol import NightScanProtocol, TransportState
from frontend.transport_limits import TransportLimits

LEAVING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
ORPHAN_TIMEOUT_S = 1.2  # of unfinished requests once the master is gone: the port must be free again soon
_TICK_S = 0.05  # until a signal is noticed, at most
_TICKS_PER_BEAT = 8
_DRAIN_TICK_S = 0.02
_FLUSH_S = 0.06  # for the last answers to reach the kernel's buffers; arbitrary

_LOG = logging.getLogger("uvicorn.error")


class DrainingServer(Server):
    """Serves until told to leave, orphaned, or done with `max_requests`; then drains.

    `beat` is called at least twice a second from the loop, `orphaned` tells whether the parent is gone. `number` is
    this frontend's row in `crowd`.
    """

    def __init__(
        self,
        config: Config,
        *,
        limits: TransportLimits,
        beat: Callable[[], None],
        orphaned: Callable[[], bool],
        crowd: Crowd,
        number: int,
    ) -> None:
        super().__init__(config)
        self.server_state = self.state = TransportState()
        self.reason = ""
        self._limits = limits
        self._beat = beat
        self._orphaned = orphaned
        self._crowd = crowd
        self._number = number
        self._acceptors: list[Acceptor] = []

    def handle_exit(self, sig: int, frame: object) -> None:
        """A signal asks to leave; asking twice changes nothing."""
        self.should_exit = True
        self.reason = self.reason or signal.Signals(sig).name

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        for number in LEAVING_SIGNALS:
            signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets the application begin, then takes connections. Raises SystemExit when it cannot."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        self._pulse()
        loop = asyncio.get_running_loop()
        for listener in sockets or []:
            acceptor = Acceptor(
                getattr(listener, "sock", listener),  # gunicorn wraps it
                self._make_protocol,
                loop=loop,
                tls=self.config.ssl,
                stands_back=self._stands_back,
            )
            acceptor.start()
            self._acceptors.append(acceptor)
        self.servers = []
        self.started = True

    def _make_protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return made

    def _stands_back(self) -> bool:
        connections = self._held()
        self._crowd.write(self._number, connections)
        return self._crowd.has_emptier(self._number, connections)

    def _held(self) -> int:
        return len(self.state.connections) + sum(acceptor.connecting for acceptor in self._acceptors)

    async def main_loop(self) -> None:
        """Serves until it is time to leave."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await asyncio.sleep(_TICK_S)

    async def on_tick(self, counter: int) -> bool:
        """Every `_TICK_S` while serving. Returns whether it is time to leave."""
        if counter % _TICKS_PER_BEAT == 0:
            self._pulse()
        if self.state.total_requests >= (self.config.limit_max_requests or float("inf")):
            self.reason = self.reason or "max_requests"
        elif self._orphaned():
            self.reason = self.reason or "the master is gone"
        return self.should_exit or bool(self.reason)

    def _pulse(self) -> None:
        self._beat()
        if not self.state.draining:
            self._crowd.write(self._number, self._held())
        self.state.date_line = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        now_s = asyncio.get_running_loop().time()
        for connection in self._connections():
            connection.sweep(now_s)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains, see above; takes at most `graceful_timeout_s` and a little."""
        _LOG.info("Leaving (%s), pid %d", self.reason or "asked to", os.getpid())
        self._stop_listening(sockets or [])
        self.state.draining = True
        await self._drain()
        await self._cut()
        await self._end_lifespan()

    def _stop_listening(self, sockets: list[socket.socket]) -> None:
        self._crowd.leave(self._number)
        for acceptor in self._acceptors:
            acceptor.stop()
        for listener in sockets:
            listener.close()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        began_s, ticks = loop.time(), 0
        while self._unfinished():
            waited_s = loop.time() - began_s
            if waited_s >= self._longest_s():
                return
            if waited_s >= self._limits.drain_s or self._orphaned():
                for connection in self._connections():
                    connection.shutdown()
            if ticks % 25 == 0:
                self._pulse()
            ticks += 1
            await asyncio.sleep(_DRAIN_TICK_S)

    def _longest_s(self) -> float:
        limit_s = self._limits.graceful_timeout_s
        return min(limit_s, ORPHAN_TIMEOUT_S) if self._orphaned() else limit_s

    def _unfinished(self) -> bool:
        busy = bool(self.state.tasks) or any(acceptor.connecting for acceptor in self._acceptors)
        return busy or not all(connection.is_leaving for connection in self._connections())

    async def _cut(self) -> None:
        for connection in self._connections():
            connection.give_up()
        give_up_at_s = asyncio.get_running_loop().time() + _FLUSH_S
        while self._connections() and asyncio.get_running_loop().time() < give_up_at_s:
            await asyncio.sleep(_DRAIN_TICK_S)
        for connection in self._connections():
            connection.transport.abort()

    async def _end_lifespan(self) -> None:
        try:
            await asyncio.wait_for(self.lifespan.shutdown(), timeout=_FLUSH_S)
        except asyncio.TimeoutError:
            _LOG.error("The application's lifespan did not end in time")

    def _connections(self) -> list[NightScanProtocol]:
        return [item for item in self.state.connections if isinstance(item, NightScanProtocol)]
