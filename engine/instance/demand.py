"""Whether anybody is left who could send an instance work, asked while it has no supervisor."""

from __future__ import annotations

from engine.clock import NS_PER_S, now_ns
from engine.messages import process_start_ticks
from engine.shm.layout import LaneWord
from engine.shm.segment import Segment

UNWANTED_AFTER_S = 10.0  # long enough for a keeper to start a successor supervisor


class Demand:
    """A reader of the lane rows only: their writer is the supervisor."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._seen_ns = 0  # when an owner of a lane was last seen alive

    def lasts(self, missed_since_ns: int) -> bool:
        """Whether to go on. `missed_since_ns`: when the last supervisor was lost.

        Each time anew: it may have been away before, and an instance that counted that time too would be gone before
        the next one can adopt it.
        """
        rows = map(self._segment.lane_row, range(self._segment.geometry.lanes))
        if any(_is_alive(row[LaneWord.PID], row[LaneWord.START_TICKS]) for row in rows):
            self._seen_ns = now_ns()
            return True
        return now_ns() - max(self._seen_ns, missed_since_ns) < UNWANTED_AFTER_S * NS_PER_S


def _is_alive(pid: int, start_ticks: int) -> bool:
    return pid != 0 and process_start_ticks(pid) == start_ticks
