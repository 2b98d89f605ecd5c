"""When to stop asking a server that does not answer, and when to try again.

Closed: everybody asks. After `failures_to_open` failures in a row it opens: nobody asks until a pause is over. Then one
may try (half open); if that succeeds the breaker closes, if not the next pause is twice as long, up to a bound.
"""

from __future__ import annotations

import enum

FAILURES_TO_OPEN = 3  # arbitrary: one lost connection is no outage
FIRST_PAUSE_NS = 250_000_000
LONGEST_PAUSE_NS = 2_000_000_000  # a server that is back is used again within this and one attempt


class BreakerState(enum.IntEnum):
    """As a gauge shows it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Of one server. Not thread-safe: its owner has a lock."""

    def __init__(self, failures_to_open: int = FAILURES_TO_OPEN, *, longest_pause_ns: int = LONGEST_PAUSE_NS) -> None:
        self._failures_to_open = failures_to_open
        self._longest_pause_ns = longest_pause_ns
        self._failures = 0  # in a row
        self._pause_ns = FIRST_PAUSE_NS
        self._retry_at_ns = 0
        self.state = BreakerState.CLOSED

    def may_try(self, now_ns: int) -> bool:
        """Whether to ask now. Where that is the one attempt after a pause, whoever asked must report how it went."""
        if self.state is BreakerState.OPEN and now_ns >= self._retry_at_ns:
            self.state = BreakerState.HALF_OPEN
            return True
        return self.state is BreakerState.CLOSED

    def refuses(self, now_ns: int) -> bool:
        """Whether `may_try` would say no. Asking this changes nothing."""
        if self.state is BreakerState.OPEN:
            return now_ns < self._retry_at_ns
        return self.state is BreakerState.HALF_OPEN

    def succeeded(self) -> None:
        """The server has answered."""
        self._failures = 0
        self._pause_ns = FIRST_PAUSE_NS
        self.state = BreakerState.CLOSED

    def failed(self, now_ns: int) -> None:
        """It has not. What was asked before the breaker opened and fails later changes nothing."""
        if self.state is BreakerState.OPEN:
            return
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._failures_to_open:
            self.state = BreakerState.OPEN
            self._retry_at_ns = now_ns + self._pause_ns
            self._pause_ns = min(self._longest_pause_ns, 2 * self._pause_ns)

    def abandoned(self, now_ns: int) -> None:
        """The one attempt was given up without a result: another may be made at once."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
            self._retry_at_ns = now_ns
