"""How many of many like things are noted: all of a few, and so many a second of a flood."""

from __future__ import annotations


class Thinning:
    """Lets `burst` through at once, then one every `interval_ns`. Not thread-safe.

    The generic cell rate algorithm (ITU-T I.371, annex A): one moment is all it remembers.
    """

    def __init__(self, burst: int, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._ahead_ns = (burst - 1) * interval_ns
        self._due_ns = 0  # when the next would come if they came evenly

    def lets(self, now: int) -> bool:
        """Whether something that happens now is to be noted."""
        due_ns = self._due_ns
        if due_ns > now + self._ahead_ns:
            return False
        self._due_ns = max(due_ns, now) + self._interval_ns
        return True
