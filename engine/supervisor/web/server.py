"""The status server: one thread with a loop of its own, which touches nothing of the supervisor's.

It is given snapshots, reads counters in shared memory, and hands orders over; so it answers while the supervisor's loop
is stuck, and says so. Connections cost a descriptor each, never a thread: those that keep silent make room for others.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import socket

from engine.clock import now_ns
from engine.config import Settings
from engine.supervisor.guard import caught
from engine.supervisor.loop import Handler, Loop
from engine.supervisor.web.admin_token import AdminToken
from engine.supervisor.web.answer import StatusAnswer, json_answer
from engine.supervisor.web.connection import Doing, StatusConnection
from engine.supervisor.web.door import PortDoor, SocketDoor
from engine.supervisor.web.orders import Give, OrderDesk
from engine.supervisor.web.request import StatusRequest
from engine.supervisor.web.routes import StatusRoutes
from engine.supervisor.web.snapshot import Snapshot

MOST_CONNECTIONS = 256
MOST_WAITING = 32  # whose answers are not taken at once: each is held in full, and may have half a megabyte
_LOOK_EVERY_S = 1.0
_LEAVE_WITHIN_S = 1.0
_PORT_EVERY = 5  # looks at a port that is taken

_SILENT = (Doing.IDLE, Doing.READING, Doing.ENDING)
_UNDER_WAY = json_answer({"status": "under way", "see": "status"}, 202)

_log = logging.getLogger(__name__)


class StatusServer:
    """`publish` and `close` are for the supervisor's loop, everything else for the thread."""

    def __init__(self, settings: Settings, runtime_dir: Path, give: Give) -> None:
        """Returns at once; files and sockets are made in the thread. `give` hands an order to the supervisor's loop."""
        self._give = give
        self._settings = settings
        self._runtime_dir = runtime_dir
        self._loop = Loop()
        self._connections: dict[StatusConnection, None] = {}  # the least lately accepted first
        self._looks = 0
        # Of it the loop reads `address` and `trouble`, which the thread stores whole.
        self.port = PortDoor(
            self._loop, self._accept, self._makes_room, settings.status_host, settings.status_port
        )
        self._has_streams = False  # stored by the thread; a hint: without any nobody has to be woken
        self._snapshot: Snapshot | None = None  # stored by the supervisor's loop, whole
        # A daemon: a disk that never answers must not keep the process.
        self._thread = threading.Thread(target=self._run, name="status-server", daemon=True)
        self._thread.start()

    # --- for the supervisor's loop ----------------------------------------------------------------------------------

    def publish(self, snapshot: Snapshot, over: Iterable[Handler]) -> None:
        """What is said from here on. `over`: what closes that nobody reads in any more."""
        self._snapshot = snapshot
        for closing in over:
            self._loop.call_soon_threadsafe(closing)
        if self._has_streams:
            self._loop.call_soon_threadsafe(self._routes.streams.tell_state)

    def close(self) -> bool:
        """Whether the thread has ended: then nobody reads in what was published. Idempotent."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LEAVE_WITHIN_S)
        return not self._thread.is_alive()

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._token = AdminToken(self._runtime_dir)
        desk = OrderDesk(self._give, self._loop.call_soon_threadsafe)
        self._routes = StatusRoutes(
            self._settings, self._token, desk, lambda: self._snapshot, lambda act: self._loop.call_after(0.0, act)
        )
        self._socket = SocketDoor(self._loop, self._accept, self._makes_room, self._runtime_dir)
        self._loop.call_after(0.0, self._look)
        self._loop.run()
        for step in (self.port.close, self._socket.close, self._token.remove, self._close_connections):
            self._loop.attempt(step)
        self._loop.close()

    def _look(self) -> None:
        """Now, and every second: what was removed from the folder comes back, who takes too long goes."""
        for key, keep in (("token", self._token.keep), ("socket", self._socket.keep)):
            # Not repeated by the loop: the next look comes soon enough.
            self._loop.guard.run(key, functools.partial(self._in_folder, keep))
        if self._looks % _PORT_EVERY == 0:
            self.port.keep()
        self._looks += 1
        self._routes.streams.tell_figures()
        self._give_up()
        self._loop.call_after(_LOOK_EVERY_S, self._look)  # last: repeated, it would come twice as often from then on

    def _in_folder(self, keep: Callable[[], None]) -> None:
        """A folder that was removed is no trouble: the supervisor's loop is about to make it again."""
        try:
            self._in_own_folder(keep)
        except FileNotFoundError:
            if self._runtime_dir.is_dir():
                self._in_own_folder(keep)  # it is there again by now

    def _in_own_folder(self, keep: Callable[[], None]) -> None:
        """Whoever has made another one in its place may read, and replace, what lies in it. Raises OSError."""
        owner_uid = self._runtime_dir.stat().st_uid
        if owner_uid != os.geteuid():
            raise PermissionError(f"{self._runtime_dir} belongs to uid {owner_uid}: nothing is put there")
        keep()

    def _give_up(self) -> None:
        """Whoever takes too long goes; who waits for an order is told that it goes on."""
        now = now_ns()
        for connection in [each for each in self._connections if each.give_up_at_ns <= now]:
            if connection.doing is Doing.ANSWERING:
                connection.answer(_UNDER_WAY)
            else:
                connection.close()

    def _accept(self, connected: socket.socket) -> None:
        if len(self._connections) >= MOST_CONNECTIONS and not self._makes_room():
            connected.close()
            return
        self._connections[StatusConnection(self._loop, connected, self)] = None

    def _makes_room(self) -> bool:
        """Whoever has been silent for longest goes; False if nobody is."""
        silent = (each for each in self._connections if each.doing in _SILENT)
        oldest = min(silent, key=lambda each: each.give_up_at_ns, default=None)
        if oldest is not None:
            oldest.close()
        return oldest is not None

    def _close_connections(self) -> None:
        for connection in list(self._connections):
            connection.close()

    # --- for connections --------------------------------------------------------------------------------------------

    def check(self, request: StatusRequest, connection: StatusConnection) -> None:
        """Raises StatusRefusal."""
        self._routes.access.check(request, connection.reached)

    def answer(self, request: StatusRequest, connection: StatusConnection) -> StatusAnswer | None:
        """An error of ours is told as one, and costs nobody else anything."""
        found: list[StatusAnswer | None] = []
        error = caught(lambda: found.append(self._routes.answer(request, connection)))
        if error is None:
            self._has_streams = self._routes.streams.any
            if found[0] is not None and found[0].body is None:
                self._loop.call_after(0.0, self._routes.streams.tell_state)  # who has just come hears how things are
            return found[0]
        _log.error("%s %s failed", request.method, request.path, exc_info=error)
        return json_answer({"error": "internal error; the log has it", "code": "INTERNAL"}, 500)

    def waits(self) -> None:
        """Of those that do not take their answers few are kept, the latest."""
        waiting = [each for each in self._connections if each.doing is Doing.WRITING]
        if len(waiting) > MOST_WAITING:
            min(waiting, key=lambda each: each.give_up_at_ns).close()

    def closed(self, connection: StatusConnection) -> None:
        """It is gone."""
        self._connections.pop(connection, None)
        self._routes.streams.close(connection)
        self._has_streams = self._routes.streams.any
