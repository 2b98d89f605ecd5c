"""The server of one frontend, and how it leaves without losing a request.

Leaving, for whatever reason: close the listening socket; announce `Connection: close` on every response not yet begun;
read idle connections for `drain_s` more, since a request may be on its way; close them; wait for the rest until
`graceful_timeout_s`; answer 503 to whoever still waits; cut. The heartbeat goes on all the time, or else the master
would take a draining frontend for a hung one.

Signals set a flag and nothing else. Their handlers are never taken off: a second signal, or one that comes while the
interpreter ends, must not kill the process before gunicorn's `worker_exit` hook has run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable, Sequence

from frontend.server.acceptor import Acceptor
from frontend.server.crowd import Crowd
from frontend.server.lifespan import Lifespan
from frontend.server.protocol import NightScanProtocol
from frontend.server.server_log import SERVER_LOG
from frontend.server.transport_state import TransportState

LEAVING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
ORPHAN_TIMEOUT_S = 1.2  # of unfinished requests once the master is gone: the port must be free again soon
_TICK_S = 0.05  # until a signal is noticed, at most
_TICKS_PER_BEAT = 8
_DRAIN_TICK_S = 0.02
_FLUSH_S = 0.06  # for the last answers to reach the kernel's buffers; arbitrary


class DrainingServer:
    """Serves until told to leave, orphaned, or done with `max_requests`; then drains.

    `beat` is called at least twice a second from the loop, `orphaned` tells whether the parent is gone. `number` is
    this frontend's row in `crowd`.
    """

    def __init__(
        self,
        state: TransportState,
        *,
        beat: Callable[[], None],
        orphaned: Callable[[], bool],
        crowd: Crowd,
        number: int,
        max_requests: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.state = state
        self.reason = ""
        self._limits = state.limits
        self._lifespan = Lifespan(state)
        self._beat = beat
        self._orphaned = orphaned
        self._crowd = crowd
        self._number = number
        self._max_requests = max_requests
        self._tls = tls
        self._acceptors: list[Acceptor] = []

    async def serve(self, listeners: Sequence[socket.socket]) -> bool:
        """The whole life. Returns False at once when the application could not begin."""
        for number in LEAVING_SIGNALS:
            signal.signal(number, self._note_signal)
        if not await self._lifespan.startup():
            return False
        self._listen(listeners)
        while not self._is_time_to_leave():
            self._pulse()
            for _ in range(_TICKS_PER_BEAT):
                await asyncio.sleep(_TICK_S)
                if self._is_time_to_leave():
                    break
        await self._leave(listeners)
        return True

    def _note_signal(self, number: int, frame: object) -> None:
        """A signal asks to leave; asking twice changes nothing."""
        self.reason = self.reason or signal.Signals(number).name

    def _listen(self, listeners: Sequence[socket.socket]) -> None:
        self._pulse()
        for listener in listeners:
            acceptor = Acceptor(
                listener, self._make_protocol, loop=self.state.loop, tls=self._tls, stands_back=self._stands_back
            )
            acceptor.start()
            self._acceptors.append(acceptor)

    def _make_protocol(self) -> asyncio.Protocol:
        return NightScanProtocol(self.state)

    def _stands_back(self) -> bool:
        connections = self._held()
        self._crowd.write(self._number, connections)
        return self._crowd.has_emptier(self._number, connections)

    def _held(self) -> int:
        return len(self.state.connections) + sum(acceptor.connecting for acceptor in self._acceptors)

    def _is_time_to_leave(self) -> bool:
        if self.state.total_requests >= self._max_requests:
            self.reason = self.reason or "max_requests"
        elif self._orphaned():
            self.reason = self.reason or "the master is gone"
        return bool(self.reason)

    def _pulse(self) -> None:
        self._beat()
        if not self.state.draining:
            self._crowd.write(self._number, self._held())
        self.state.sweep()

    async def _leave(self, listeners: Sequence[socket.socket]) -> None:
        """Drains, see above; takes at most `graceful_timeout_s` and a little."""
        SERVER_LOG.info("Leaving (%s), pid %d", self.reason, os.getpid())
        self._stop_listening(listeners)
        self.state.draining = True
        await self._drain()
        await self._cut()
        await self._end_lifespan()

    def _stop_listening(self, listeners: Sequence[socket.socket]) -> None:
        self._crowd.leave(self._number)
        for acceptor in self._acceptors:
            acceptor.stop()
        for listener in listeners:
            listener.close()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        began_s, ticks = loop.time(), 0
        while self._unfinished():
            waited_s = loop.time() - began_s
            if waited_s >= self._longest_s():
                return
            if waited_s >= self._limits.drain_s or self._orphaned():
                for connection in list(self.state.connections):
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
        return busy or not all(connection.is_leaving for connection in self.state.connections)

    async def _cut(self) -> None:
        for connection in list(self.state.connections):
            connection.give_up()
        give_up_at_s = asyncio.get_running_loop().time() + _FLUSH_S
        while self.state.connections and asyncio.get_running_loop().time() < give_up_at_s:
            await asyncio.sleep(_DRAIN_TICK_S)
        for connection in list(self.state.connections):
            connection.transport.abort()

    async def _end_lifespan(self) -> None:
        try:
            await asyncio.wait_for(self._lifespan.shutdown(), timeout=_FLUSH_S)
        except asyncio.TimeoutError:
            SERVER_LOG.error("The application's lifespan did not end in time")
