"""How many requests wait for an instance of one deployment version, over the lanes of all frontends.

Waiting are the slots that are READY and the requests that wait in their frontend for a slot (each lane's gauge).
Counting takes a few microseconds, so a count is kept for a moment and raised by what this process has added since. It
may be too high, and is therefore taken anew before anybody is refused; and too low by what other frontends have added,
and is therefore kept for a shorter moment where the bound is near.
"""

from __future__ import annotations

import numpy as np

from engine.shm.layout import LaneWord
from engine.shm.segment import Segment
from engine.shm.words import READY, WORD_BYTES

FRESH_NS = 1_000_000  # in this time other frontends add a handful of requests at most
FAR_FACTOR = 10  # with less than half of the bound waiting: nobody adds the other half in ten times that


class Census:
    """Counts over one mapped segment, for reading only. Close it before the segment."""

    def __init__(self, segment: Segment) -> None:
        self._states = np.frombuffer(segment.tables.word, np.uint8)[::WORD_BYTES]  # the low byte of a word
        self._lanes = [segment.lane_row(lane) for lane in range(segment.geometry.lanes)]
        self.count = 0
        self._counted_ns = -FAR_FACTOR * FRESH_NS
        self.fresh_until_ns = 0  # far from the bound, `count` need not be taken anew before

    def waiting(self, now_ns: int, bound: int) -> int:
        """Requests that wait; near `bound` exact to what has been added in the last millisecond elsewhere."""
        fresh_ns = FRESH_NS if 2 * self.count >= bound else FAR_FACTOR * FRESH_NS
        return self.count if now_ns - self._counted_ns < fresh_ns else self.count_anew(now_ns)

    def count_anew(self, now_ns: int) -> int:
        """Requests that wait just now."""
        ready = int(np.count_nonzero(self._states == READY))
        self.count = ready + sum(lane[LaneWord.WAITING] for lane in self._lanes)
        self._counted_ns, self.fresh_until_ns = now_ns, now_ns + FAR_FACTOR * FRESH_NS
        return self.count

    def added(self) -> None:
        """This process has let one more request in."""
        self.count += 1

    def close(self) -> None:
        """Lets go of the segment."""
        self._states = np.empty(0, np.uint8)
        for lane in self._lanes:
            lane.release()
        self._lanes = []
