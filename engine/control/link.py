"""The connection of one process to whichever supervisor lives: a frontend's, an instance's, the command line's.

Losing it changes nothing for work under way: its owner tries again with back-off, says what it holds, and goes on
meanwhile.

A hello carries the own pidfd first, then what the process holds apart from versions (`process`), then what it has
mapped of versions (`holds`). A welcome offers what the supervisor has of the former, and so does an offer, to a
frontend that is still to be welcomed; the link keeps it by itself.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Sequence
from typing import Any

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.control.process_holds import ProcessHolds
from engine.errors import DeadlineExceeded, NotReady, PeerGone, ProtocolError
from engine.messages import Connection, connect, process_start_ticks

BACK_OFF_MIN_S = 0.05
BACK_OFF_MAX_S = 0.4  # a few tries a second cost nothing, and a successor waits for all who were there

Hold = tuple[dict[str, Any], Sequence[int]]  # what a hello says of one version that is mapped, and its descriptors
OFFERS = ("welcome", "offer")  # messages that bring what a process is to hold
Handler = Callable[[dict[str, Any], list[int]], None]


class ControlLink:
    """At most one connection. Opened, read and dropped in one thread; sending is possible from every thread."""

    def __init__(self, runtime_dir: str | os.PathLike[str], *, role: str, **introduction: str) -> None:
        """`introduction`: what a hello says beside role, process and holds."""
        self._runtime_dir = runtime_dir
        self._introduction = {"role": role, **introduction}
        self.holds: Callable[[], Sequence[Hold]] = _nothing  # set by whoever has something to offer to a successor
        self.process = ProcessHolds()  # changed in the thread that reads
        self._connection: Connection | None = None
        self._back_off_s = BACK_OFF_MIN_S
        self._next_try_ns = 0

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def fileno(self) -> int:
        """The descriptor to watch. Raises NotReady while there is no connection."""
        return self._require().fileno()

    def open(self) -> None:
        """Connects and says hello. Raises NotReady when nobody listens."""
        connection = connect(self._runtime_dir)
        with contextlib.ExitStack() as undo:
            undo.callback(connection.close)
            self._greet(connection)
            undo.pop_all()
        self._connection = connection

    def try_open(self) -> bool:
        """`open`, unless it is open or was tried a moment ago; whether it was opened now."""
        if self._connection is not None or now_ns() < self._next_try_ns:
            return False
        self._next_try_ns = now_ns() + int(self.next_back_off_s() * NS_PER_S)
        try:
            self.open()
        except NotReady:
            return False
        return True

    def next_back_off_s(self) -> float:
        """How long to wait before the next `open`; doubles until a supervisor has said something."""
        wait_s = self._back_off_s
        self._back_off_s = min(BACK_OFF_MAX_S, 2 * wait_s)
        return wait_s

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Raises NotReady without a connection, PeerGone when it has just broken."""
        self._require().send(message, fds)

    def receive_all(self, handle: Handler) -> None:
        """Gives every message that is there to `handle`, which owns its descriptors.

        Raises PeerGone (ProtocolError) when the connection is at its end.
        """
        while self._connection is not None and (received := self._receive()) is not None:
            handle(*received)

    def next_message(self, deadline: Deadline | None = None) -> tuple[dict[str, Any], list[int]]:
        """Waits for one message; its descriptors are the caller's.

        Raises NotReady without a connection, PeerGone, ProtocolError, DeadlineExceeded.
        """
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN)
        while (received := self._receive()) is None:
            if deadline is not None and deadline.expired:
                raise DeadlineExceeded("the supervisor has not answered in time")
            poller.poll(None if deadline is None else deadline.remaining_s() * 1000)
        return received

    def drop(self) -> None:
        """Closes the connection; `open` makes the next one. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """`drop`, and lets go of what the process holds. Idempotent."""
        self.drop()
        self.process.close()

    def _greet(self, connection: Connection) -> None:
        process, process_fds = self.process.offer()
        holds = self.holds()
        own = {"pid": os.getpid(), "start_ticks": process_start_ticks(os.getpid())}
        hello = {"type": "hello", **self._introduction, **own, "process": process}
        hello["holds"] = [fields for fields, _ in holds]
        pidfd = os.pidfd_open(os.getpid())
        try:
            connection.send(hello, [pidfd, *process_fds, *(fd for _, fds in holds for fd in fds)])
        except PeerGone as error:
            raise NotReady(f"the supervisor left while it was greeted: {error}") from error
        finally:
            os.close(pidfd)

    def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        received = self._require().receive()
        if received is None:
            return None
        self._back_off_s = BACK_OFF_MIN_S
        message, fds = received
        if message["type"] in OFFERS:
            self._keep_offered(message.get("process", []), fds)
        return message, fds

    def _keep_offered(self, offered: Any, fds: list[int]) -> None:
        """Takes the descriptors of `offered` from `fds`, or raises ProtocolError and closes all of them."""

        def take(count: int) -> list[int]:
            if len(fds) < count:
                raise ProtocolError("a welcome came with too few descriptors")
            taken, fds[:] = fds[:count], fds[count:]
            return taken

        try:
            self.process.receive(offered if isinstance(offered, list) else [offered], take)
        except ProtocolError:
            while fds:
                os.close(fds.pop())
            raise

    def _require(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise NotReady("no supervisor is connected just now")
        return connection


def _nothing() -> Sequence[Hold]:
    return ()
