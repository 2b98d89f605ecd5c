"""Of the same line many times the first is written, and after a while how many followed it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

What = TypeVar("What")
_MOST = 256  # lines that are counted at a time; what is more is written


class LogRepeats(Generic[What]):
    """Not thread-safe. `What`: what is to be known of a line to tell of its repeats."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._seen: dict[Hashable, tuple[int, What]] = {}  # until when it is counted; the oldest first
        self._counts: dict[Hashable, int] = {}  # of those that came again

    def note(self, key: Hashable, what: What, now: int) -> bool:
        """Whether a line that is the same as all of this key is to be written. To be called after `over`."""
        if key in self._seen:
            self._counts[key] = self._counts.get(key, 0) + 1
            return False
        if len(self._seen) < _MOST:
            self._seen[key] = (now + self._interval_ns, what)
        return True

    def over(self, now: int) -> list[tuple[What, int]]:
        """What came again, and how often, of the lines whose time is over; the next of each is a first one."""
        found = []
        while self._seen and (key := next(iter(self._seen))) is not None and self._seen[key][0] <= now:
            _, what = self._seen.pop(key)
            count = self._counts.pop(key, 0)
            if count:
                found.append((what, count))
        return found

    @property
    def counting(self) -> bool:
        """Whether something has come again that was not told yet."""
        return bool(self._counts)
