"""How many requests wait for an instance of one deployment version, over the lanes of all frontends.

Waiting are the slots that are READY and the requests that wait in their frontend for a slot (each lane's gauge).
Counting takes a few microseconds, so a count is kept for `FRESH_NS` and raised by what this process has added since:
too high at worst, and therefore counted anew before anybody is refused.
"""

from __future__ import annotations

import numpy as np

from engine.shm.layout import LaneWord
from engine.shm.segment import Segment
from engine.shm.words import READY, WORD_BYTES

FRESH_NS = 1_000_000  # in this time other frontends add a handful of requests at most


class Census:
    """Counts over one mapped segment, for reading only. Close it before the segment."""

    def __init__(self, segment: Segment) -> None:
        self._states = np.frombuffer(segment.tables.word, np.uint8)[::WORD_BYTES]  # the low byte of a word
        self._lanes = [segment.lane_row(lane) for lane in range(segment.geometry.lanes)]
        self._count = 0
        self._stale_at_ns = 0

    def waiting(self, now_ns: int) -> int:
        """Requests that wait, exact to what has been added in the last millisecond elsewhere."""
        if now_ns >= self._stale_at_ns:
            self.count_anew(now_ns)
        return self._count

    def count_anew(self, now_ns: int) -> int:
        """Requests that wait just now."""
        ready = int(np.count_nonzero(self._states == READY))
        self._count = ready + sum(lane[LaneWord.WAITING] for lane in self._lanes)
        self._stale_at_ns = now_ns + FRESH_NS
        return self._count

    def added(self) -> None:
        """This process has let one more request in."""
        self._count += 1

    def close(self) -> None:
        """Lets go of the segment."""
        self._states = np.empty(0, np.uint8)
        for lane in self._lanes:
            lane.release()
        self._lanes = []
