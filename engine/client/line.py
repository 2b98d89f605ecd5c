"""The waiting line of one deployment in this process, its length published where all processes read it.

A ticket stands in line exactly while it wants a slot. That, and the published length, are worked out anew from the
truth at every change: whoever mutates the line holds it (`with self`), and letting go of it publishes. There is no
other way to the line, so the gauge cannot be left behind.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType

from engine.client.attachment import Attachment
from engine.client.ticket import Ticket
from engine.client.versions import Versions
from engine.clock import now_ns
from engine.core.admission import WaitingLine


class SharedLine:
    """Thread-safe. `length` without the lock is a hint: one who has just come or gone may be missing from it."""

    def __init__(self, versions: Versions, *, aging_ns: int) -> None:
        self._versions = versions
        self._line: WaitingLine[Ticket] = WaitingLine(aging_ns)
        self._lock = threading.Lock()
        self._told: Attachment | None = None  # whose gauge holds the length; all others hold 0. Under the lock
        self.length = 0  # changed under the lock

    def first(self) -> Ticket | None:
        """Whose turn it is. They go on waiting until `settle` finds that they want no slot."""
        with self._lock:
            return self._line.first(now_ns())

    def settle(self, ticket: Ticket, *, turn_ns: int | None = None) -> None:
        """Puts `ticket` in line if it wants a slot, takes it out if not. `turn_ns`: it comes as if at this moment."""
        with self as line:
            if not ticket.wants_slot(self._window()):
                line.discard(ticket)
            elif ticket not in line:
                ticket.turn_ns = ticket.turn_ns if turn_ns is None else turn_ns
                line.put(ticket, level=ticket.level, arrival_ns=ticket.turn_ns)

    def drain(self) -> list[Ticket]:
        """Everybody, removed."""
        with self as line:
            return line.drain()

    def publish(self) -> None:
        """To be called when another version may have become the one that new work goes to, and from time to time."""
        with self:
            pass

    def let_go_in_child(self) -> None:
        """In a forked child: whoever held the lock does not exist here."""
        self._lock = threading.Lock()
        self._told = None

    def _window(self) -> int:
        attachment = self._versions.active
        return sys.maxsize if attachment is None else attachment.window

    def __enter__(self) -> WaitingLine[Ticket]:
        self._lock.acquire()
        return self._line

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._publish()
        finally:
            self._lock.release()

    def _publish(self) -> None:
        """Caller holds the lock, or an older length could be published after a newer one."""
        self.length = len(self._line)
        active, told = self._versions.active, self._told
        if told is not None and told is not active:
            told.owner.tell_waiting(0)
        if active is not None:
            active.owner.tell_waiting(self.length)
        self._told = active
