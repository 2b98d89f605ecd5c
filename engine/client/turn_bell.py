"""A doorbell that rings once for a few requests that are offered within one turn of the event loop.

Each ring is a system call that wakes an instance, and on busy cores hands the core to it at once: sixteen requests that
arrive together were taken in batches of two. A lone request loses one turn of an idle loop.

So a ring may come at any moment between the READY it stands for and the end of the turn, with whatever else that turn
brings before it: other offers, replies, cancels, the death of an instance, whose ring waits as well. `tests/model`
explores just that and finds nothing wrong: READY comes before its ring in any case, and nobody relies on a ring for
work that is not their own. What it needs is that the ring does come, and that is covered:

- The frontend dies in between: its lane is swept, whether READY was rung for or not; rings of others are their own.
- A callback of the turn raises: the ring is a callback of its own, which the loop runs all the same.
- The turn does not end: after `MOST_HELD` offers it rings in between. One that hangs leaves a few of its own requests
  to the next ring of anybody, or to the look that every instance takes once a second.
- The loop stops in mid-turn: other rings are no longer held back; the due one comes when it goes on, or when another
  reactor drives (`follow`), without which no reply would be read either.
- The bell is closed: what is left is withdrawn by this client, or swept.
"""

from __future__ import annotations

from engine.client.reactor import Reactor
from engine.shm.bell import Bell

MOST_HELD = 4  # of 2, 4, 8 and all, the fastest with sixteen callers: an instance begins while the loop goes on


class TurnBell(Bell):
    """In a turn of the event loop that drives, a ring waits for its end; elsewhere it does not."""

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
        if self._due and self._reactor is not None and self._reactor.in_turn():
            self._held += 1
            if self._held >= MOST_HELD:
                self._ring_if_due()
        elif self._reactor is not None and self._reactor.soon(self._ring_if_due):
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
