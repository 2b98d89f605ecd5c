"""The slots of one lane in the process that owns it: which are free, which are out, which nobody waits for any more.

Invariants:

- `_free` and `_outstanding` together name every slot of the lane once, but for slots that a thread is just filling;
- a slot leaves READY only under the lease; a slot LEASED by the living is left to them;
- the segment is unmapped only when no thread is inside.

Thread-safe by one local lock, held for list work only. The lease is taken inside it, never the other way round.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from engine.crash_points import reach
from engine.errors import InternalError
from engine.shm.item import Item
from engine.shm.layout import LaneWord
from engine.shm.lease import Lease
from engine.shm.records import LaneStatistics
from engine.shm.segment import Segment
from engine.shm.words import FREE, LEASED, READY, lessee_of, pack, state_of


class LaneSlots:
    """What `LaneOwner` offers from and harvests into."""

    def __init__(self, segment: Segment, lane: int, lease: Lease) -> None:
        """Raises InternalError if a slot of the lane is not FREE: it was handed over too early."""
        geometry = segment.geometry
        self.segment = segment
        self.lane = lane
        self._lease = lease
        self._tables = segment.tables
        self._words = segment.tables.word
        self._row = segment.lane_row(lane)
        self._slots = range(lane * geometry.slots, (lane + 1) * geometry.slots)
        self._replies = _reply_areas(segment, self._slots)
        self._lock = threading.Lock()
        self._free: list[int] = [*reversed(self._slots)]  # the last one freed is the next one claimed
        self._outstanding: dict[int, Item] = {}
        self._withdrawals: list[Item] = []
        self._inside: list[None] = []  # one entry for each thread that uses the mapping without the lock
        self._unused = threading.Event()
        self._closed = False
        if self.statistics().free != geometry.slots:
            raise InternalError(f"lane {lane} was handed over with slots in use: {self.statistics()}")

    # --- cancel and expire --------------------------------------------------------------------------------------------

    def abandon(self, item: Item) -> None:
        """Nobody waits for `item` any more. Its slot comes home at once if no instance has taken it and the lease
        is free, else by itself: by a later `harvest`, by its reply, or by the instance's death. Idempotent."""
        with self._lock:
            if self._closed or self._outstanding.get(item.slot) is not item or self._tables.cancel[item.slot]:
                return
            item.ticket = None
            # A hint that spares the computation. Partner: Batch.sort_out.
            self._tables.cancel[item.slot] = 1
            self._withdrawals.append(item)
            self._withdraw()

    def _withdraw(self) -> None:
        """Frees abandoned READY slots if the lease can be had at once. Caller holds the local lock."""
        self._withdrawals = [item for item in self._withdrawals if self._is_ready(item)]
        if not self._withdrawals or not self._lease.try_acquire():
            return
        try:
            reach("abandon.lease")
            for item in self._withdrawals:
                if self._is_ready(item):  # an instance may have taken it before the lease was ours
                    self._free_slot(item)
        finally:
            self._lease.release()
        self._withdrawals.clear()

    def _is_ready(self, item: Item) -> bool:
        """Once no longer READY an abandoned slot never is again. Caller holds the local lock."""
        return self._outstanding.get(item.slot) is item and state_of(self._words[item.slot]) == READY

    def _free_slot(self, item: Item) -> None:
        """`item` is home: its slot is FREE in the next generation. Caller holds the local lock.

        Only for a slot that is the owner's to free: REPLIED, LEASED by the dead, or READY and the lease held.
        """
        index = item.slot
        self._words[index] = pack(item.generation + 1, 0, FREE)
        del self._outstanding[index]
        self._free.append(index)
        item.lane = None

    # --- the mapping ------------------------------------------------------------------------------------------------

    def enter(self) -> bool:
        """Keeps the segment mapped until `leave`; False when it is let go of already."""
        with self._lock:
            if not self._closed:
                self._inside.append(None)
            return not self._closed

    def leave(self) -> None:
        """For whoever entered."""
        self._inside.pop()
        if self._closed:
            self._look_unused()

    def _look_unused(self) -> None:
        """The last to leave a closed lane says so. Everybody looks after having left: of two at least one finds it."""
        if not self._inside:
            self._unused.set()

    def tell_waiting(self, count: int) -> None:
        """Publishes how many requests wait in this process for a free slot; nothing once the segment is let go of."""
        with self._lock:
            if not self._closed:
                self._row[LaneWord.WAITING] = count

    def close(self) -> bool:
        """Waits until no thread uses the segment, so that it can be unmapped; False if that was done before.

        What is outstanding belongs to whoever the lane goes to.
        """
        with self._lock:
            if self._closed:
                return False
            self._row[LaneWord.WAITING] = 0
            self._closed = True
            in_use = bool(self._inside)
        if in_use:
            self._unused.wait()
        self._forget()
        return True

    def let_go_in_child(self) -> None:
        """In a forked child: not a word of the lane is touched, which is the parent's."""
        self._lock = threading.Lock()
        self._closed = True
        self._forget()

    def _forget(self) -> None:
        """Arrays over the segment would keep it mapped, and items outlive it."""
        self._replies = {}
        for item in self._outstanding.values():
            item.lane = None
        self._outstanding.clear()

    # --- figures ----------------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a slot is not home, or a thread is about to fill one."""
        return bool(self._inside or self._outstanding)

    @property
    def outstanding(self) -> int:
        """Items whose slots are not home yet, abandoned ones included."""
        return len(self._outstanding)

    @property
    def free(self) -> int:
        """Slots that `offer` could claim now."""
        return len(self._free)

    def lessees(self) -> set[int]:
        """Names of the instances that hold slots of this lane."""
        with self._lock:
            words = [self._words[index] for index in self._outstanding]
        return {lessee_of(word) for word in words if state_of(word) == LEASED}

    def statistics(self) -> LaneStatistics:
        """Slots of this lane by state. Raises InternalError for a state that does not exist."""
        return LaneStatistics.of(self._words[index] for index in self._slots)


def _reply_areas(segment: Segment, slots: range) -> dict[int, NDArray[np.float32]]:
    """The probabilities of each slot, `[classes]`, in place."""
    floats, geometry = segment.array.view(np.float32), segment.geometry
    starts = {index: geometry.reply_at(index) // 4 for index in slots}
    return {index: floats[start : start + geometry.reply_bytes // 4] for index, start in starts.items()}
