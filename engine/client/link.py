"""The control connection of a client to whichever supervisor lives.

Losing it changes nothing for requests on their way: the client tries again with back-off, says what it holds, and
serves on meanwhile. Requests for the supervisor itself that were under way are told PeerGone.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from engine.errors import BrokenError, EngineError, InvalidField, NotReady, PeerGone
from engine.messages import Connection, connect, process_start_ticks

BACK_OFF_MIN_S = 0.05
BACK_OFF_MAX_S = 1.0

Hold = tuple[dict[str, Any], list[int]]  # what a hello says of one attachment, and its descriptors
Handler = Callable[[dict[str, Any], list[int]], None]


class ControlLink:
    """At most one connection. `receive_all` runs in the reactor's thread; sending is possible from every thread."""

    def __init__(self, runtime_dir: str, *, holds: Callable[[], Sequence[Hold]], handle: Handler) -> None:
        """`handle` gets every message but results; the descriptors are then its own."""
        self._runtime_dir = runtime_dir
        self._holds = holds
        self._handle = handle
        self._connection: Connection | None = None
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[int, Future[dict[str, Any]]] = {}  # changed under the lock
        self._back_off_s = BACK_OFF_MIN_S

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def fileno(self) -> int:
        """The descriptor to watch. Raises NotReady while there is no connection."""
        return self._require().fileno()

    def open(self) -> None:
        """Connects and says hello. Raises NotReady when nobody listens."""
        connection = connect(self._runtime_dir)
        holds = self._holds()
        hello = {
            "type": "hello",
            "role": "frontend",
            "pid": os.getpid(),
            "start_ticks": process_start_ticks(os.getpid()),
            "holds": [fields for fields, _ in holds],
        }
        own_pidfd = os.pidfd_open(os.getpid())
        try:
            connection.send(hello, [own_pidfd, *(fd for _, fds in holds for fd in fds)])
        except PeerGone as error:
            connection.close()
            raise NotReady(f"the supervisor left while it was greeted: {error}") from error
        finally:
            os.close(own_pidfd)
        self._connection = connection

    def receive_all(self) -> None:
        """Handles every message that is there. Raises PeerGone (ProtocolError) when the connection is at its end."""
        while (connection := self._connection) is not None:
            received = connection.receive()
            if received is None:
                return
            message, fds = received
            self._back_off_s = BACK_OFF_MIN_S
            if message["type"] == "result":
                self._resolve(message)
            else:
                self._handle(message, fds)

    def next_back_off_s(self) -> float:
        """How long to wait before the next `open`; doubles until a supervisor has said something."""
        wait_s = self._back_off_s
        self._back_off_s = min(BACK_OFF_MAX_S, 2 * wait_s)
        return wait_s

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Raises NotReady without a connection, PeerGone when it has just broken."""
        self._require().send(message, fds)

    def request(self, op: str, fields: dict[str, Any], fds: Sequence[int] = ()) -> Future[dict[str, Any]]:
        """Asks the supervisor; the future gets its result, or the error that it names, or PeerGone."""
        future: Future[dict[str, Any]] = Future()
        number = next(self._numbers)
        with self._lock:
            self._pending[number] = future
        try:
            self.send({"type": "request", "id": number, "op": op, **fields}, fds)
        except EngineError:
            with self._lock:
                self._pending.pop(number, None)
            raise
        return future

    def drop(self, error: EngineError) -> None:
        """Closes the connection; whoever waits for a result gets `error`. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        with self._lock:
            pending, self._pending = self._pending, {}
        for future in pending.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def let_go_in_child(self) -> None:
        """In a forked child: nothing is said over the connection, which is the parent's."""
        self._lock = threading.Lock()
        self._pending = {}
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _require(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise NotReady("no supervisor is connected just now")
        return connection

    def _resolve(self, message: dict[str, Any]) -> None:
        with self._lock:
            future = self._pending.pop(int(message.get("id", 0)), None)
        if future is None or not future.set_running_or_notify_cancel():
            return  # asked before, and given up on
        if message.get("ok"):
            future.set_result(message)
        else:
            future.set_exception(error_of(str(message.get("code", "")), str(message.get("error", ""))))


def error_of(code: str, text: str) -> EngineError:
    """The error that another process names by its code; BrokenError for codes this version does not know."""
    kind = _BY_CODE.get(code)
    if kind is None or kind is InvalidField:
        return BrokenError(text)
    return kind(text)


def _all_kinds(root: type[EngineError]) -> list[type[EngineError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _all_kinds(child))]


_BY_CODE = {kind.code: kind for kind in reversed(_all_kinds(EngineError))}
