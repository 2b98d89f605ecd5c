"""The largest batch that fits into a device's memory, learnt from those that did not."""

from __future__ import annotations

from typing import NamedTuple

FIRST_PAUSE_NS = 60 * 10**9  # before what did not fit is tried again: what fills a device seldom goes sooner
LONGEST_PAUSE_NS = 3600 * 10**9
MET_FOR_GOOD = 2  # times that a size does not fit, each in another quiet while, until nobody tries it any more
CLIMB_AFTER = 2  # full batches at the limit, before larger ones are tried that are smaller than what did not fit


class CeilingRecord(NamedTuple):
    """What one process knows of the memory of a device, for the next one. 0: nothing."""

    too_large: int = 0  # the smallest size that did not fit
    met: int = 0  # how often: once, the memory may have been somebody else's just then
    never: int = 0  # from this size on nothing is tried any more


class BatchCeiling:
    """Equation: 1 <= limit <= most; limit < too_large, unless that is just tried again; limit < never.

    Sinks to the half of a batch that does not fit, and climbs by halves of what lies between: few batches are split
    until the largest that fits is found. What did not fit is tried again after a quiet pause; a try too many doubles
    the pause, and what did not fit MET_FOR_GOOD times is given up for good.
    """

    def __init__(self, most: int, record: CeilingRecord = CeilingRecord()) -> None:
        self.most = most
        self._too_large = record.too_large if 1 < record.too_large <= most else 0
        self._met = record.met if self._too_large else 0
        self._never = record.never if 1 < record.never <= most else 0
        self._limit = min([most, *(size - 1 for size in (self._too_large, self._never) if size)])
        self._fits = 0  # the largest that has fitted since a size up to it did not
        self._full = 0  # batches at the limit that fitted
        self._pause_ns = FIRST_PAUSE_NS
        self._raise_at_ns: int | None = None  # None: the pause begins with the next look
        self._raised = False  # what did not fit is just tried again

    @property
    def limit(self) -> int:
        """Most items of a batch, as of the last `look`, `fit` or `sink`."""
        return self._limit

    @property
    def record(self) -> CeilingRecord:
        """For the next process."""
        return CeilingRecord(self._too_large, self._met, self._never)

    @property
    def is_open(self) -> bool:
        """Whether anything does not fit that is asked for: else there is nothing to look at, and nothing to learn."""
        return bool(self._too_large or self._never or self._limit < self.most)

    def look(self, now_ns: int) -> int:
        """Most items that the next batch may have."""
        at_the_ceiling = self._limit + 1 == self._too_large and self._too_large != self._never
        if at_the_ceiling and self._raise_at_ns is None:
            self._raise_at_ns = now_ns + self._pause_ns
        elif at_the_ceiling and now_ns >= (self._raise_at_ns or 0):
            self._raised = True
            self._limit = self._too_large
        return self._limit

    def fit(self, size: int) -> None:
        """A batch of `size` items fitted."""
        if size != self._limit:
            return
        self._fits = size
        if self._raised:
            self._raised, self._too_large, self._met = False, 0, 0
            self._pause_ns = FIRST_PAUSE_NS
        self._full += 1
        if self._full >= CLIMB_AFTER:
            self._climb()

    def sink(self, size: int, now_ns: int) -> None:
        """A batch of `size` items, at least 2, did not fit."""
        if self._raised and size == self._too_large:
            self._met += 1
            self._pause_ns = min(LONGEST_PAUSE_NS, 2 * self._pause_ns)
            if self._met >= MET_FOR_GOOD:
                self._never = size
            self._limit = size - 1
        else:
            self._too_large, self._met = size, 1
            if size <= self._fits:  # there is less than there was
                self._fits = 0
            self._limit = max(1, min(self._limit, max(self._fits, size // 2)))
        self._raised, self._full = False, 0
        self._raise_at_ns = now_ns + self._pause_ns

    def _climb(self) -> None:
        """Half the way to what did not fit; where that is not known, twice as far."""
        self._full = 0
        beyond = min(self._too_large or 2 * self._limit + 1, self._never or self.most + 1, self.most + 1)
        if beyond == self._too_large or beyond == self._never:
            self._limit = (self._limit + beyond) // 2
        else:
            self._limit = beyond - 1
