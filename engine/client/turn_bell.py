"""A doorbell that rings once for a few requests that are offered within one turn of the event loop.

Each ring is a system call that wakes an instance, and on busy cores hands the core to it at once: sixteen requests that
arrive together were taken in batches of two. Ringing later is as good, since READY comes before the ring in any case
and whoever dies in between has its lane swept. A lone request loses one turn of an idle loop.
"""

from __future__ import annotations

from engine.client.reactor import Reactor
from engine.shm.bell import Bell

MOST_HELD = 4  # of 2, 4, 8 and all, the fastest with sixteen callers: an instance begins while the loop goes on


class TurnBell(Bell):
    """In the thread of an event loop that drives, a ring waits for the end of the turn; elsewhere it does not."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._reactor: Reactor | None = None
        self._due = False  # changed in the loop's thread only
        self._held = 0
        self._closed = False

    def follow(self, reactor: Reactor) -> None:
        """`reactor` drives from now on; a ring that was due on another one is made up for."""
        self._reactor = reactor
        self._ring_if_due()

    def ring(self) -> None:
        if self._due and self._reactor is not None and self._reactor.in_own_thread():
            self._held += 1
            if self._held >= MOST_HELD:
                self._ring_if_due()
            return
        if self._reactor is not None and self._reactor.soon(self._ring_if_due):
            self._due = True
            self._held = 1
        else:
            super().ring()

    def close(self) -> None:
        self._closed = True
        super().close()

    def _ring_if_due(self) -> None:
        if self._due and not self._closed:
            self._due = False
            super().ring()
