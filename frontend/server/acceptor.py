"""Takes connections off a listening socket that several frontends share, see `Crowd`.

When it stops, it takes what is queued first: those clients have connected, and would be reset with the socket.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from frontend.server.server_log import SERVER_LOG

STAND_BACK_S = 0.001  # while an emptier frontend may go first; the shortest time that uvloop knows
_NO_ROOM_S = 0.1  # out of descriptors: until some are closed

_QUEUE = 4096  # no listening socket has more waiting


class Acceptor:
    """`stands_back()` tells whether another frontend should go first. `listener` stays its owner's to close."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        loop: asyncio.AbstractEventLoop,
        tls: ssl.SSLContext | None,
        stands_back: Callable[[], bool],
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._loop = loop
        self._tls = tls
        self._stands_back = stands_back
        self._tasks: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        listener.setblocking(False)

    def start(self) -> None:
        """Begins to take connections."""
        self._timer = None
        self._loop.add_reader(self._listener.fileno(), self._ready)

    def stop(self) -> None:
        """Takes those that are queued, then no more. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self._pause()
        self._accept(most=_QUEUE)

    @property
    def connecting(self) -> int:
        """Connections that were taken and that no protocol knows yet."""
        return len(self._tasks)

    def _ready(self) -> None:
        if self._stands_back():
            self._pause()
            self._timer = self._loop.call_later(STAND_BACK_S, self._accept_late)
        else:
            self._accept(most=1)  # the socket stays readable: another frontend may take the next one

    def _accept_late(self) -> None:
        self._timer = None
        self._accept(most=1)
        if not self._stopped and self._timer is None:
            self.start()

    def _accept(self, *, most: int) -> None:
        for _ in range(most):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._wait_for_room(error)
                return
            self._connect(connection)

    def _wait_for_room(self, error: OSError) -> None:
        SERVER_LOG.error("cannot accept a connection: %s", error)
        if not self._stopped:
            self._pause()
            self._timer = self._loop.call_later(_NO_ROOM_S, self.start)

    def _connect(self, connection: socket.socket) -> None:
        connecting = self._loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._tls)
        task: asyncio.Task[object] = self._loop.create_task(connecting)
        self._tasks.add(task)
        task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            SERVER_LOG.info("a connection ended before it began: %s", error)

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
