"""The READY slots of a segment, and the choice of a batch among them: the rule of `core.batching`, all slots at a time.

The choice is made while everybody else waits for the lease. One slot after the other costs half a microsecond each;
here a thousand READY slots cost about what eight do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.core.batching import BatchPolicy
from engine.shm.segment import Segment
from engine.shm.words import READY, WORD_BYTES

Words = NDArray[np.uint64]
Indices = NDArray[np.intp]

_HIGHEST_LEVEL = 2  # as the table has it: 0 bulk, 1 normal, 2 interactive
_RANK_SHIFT = np.uint64(62)  # above every arrival: 2**62 ns are 146 years after boot
_LAST = np.iinfo(np.uint64).max
# Both arbitrary, near where one way becomes quicker than the other.
_MANY = 128  # slots that are not all sorted
_FEW = 16  # items that are quicker found one by one


class SlotColumns:
    """The tables that a look at the queue reads, as arrays `[slot_count]` over the mapping, which they keep alive."""

    def __init__(self, segment: Segment) -> None:
        self._whole = segment.array
        self._whole.flags.writeable = False
        self._segment = segment
        # The low byte of every slot word: the state. One byte of an aligned word is never torn.
        self.states = self.column("word").view(np.uint8)[::WORD_BYTES]
        self.levels, self.arrivals = self.column("level"), self.column("arrival")
        self.kinds, self.isolates = self.column("kind"), self.column("isolate")
        self.deadlines = self.column("deadline")

    def column(self, field: str) -> Words:
        """The table of one of SLOT_FIELDS, read-only."""
        start = self._segment.geometry.table_at(field)
        return self._whole[start : start + WORD_BYTES * self._segment.geometry.slot_count].view(np.uint64)


class ReadySlots:
    """The slots that one look found READY, in the order of the table; `len` of them."""

    __slots__ = ("slots", "_columns")

    def __init__(self, columns: SlotColumns) -> None:
        """Looks once. What is found stays READY only under the lease."""
        self.slots: Indices = (columns.states == READY).nonzero()[0]
        self._columns = columns

    def __len__(self) -> int:
        return self.slots.size

    def choose(self, policy: BatchPolicy, now_ns: int) -> list[int]:
        """The slots of one batch as `core.batching.choose` says, most urgent first. Caller holds the lease.

        Partner of these loads: the READY stores of LaneOwner, which come after the fields.
        """
        slots, columns = self.slots, self._columns
        if slots.size < 2:
            found: list[int] = slots.tolist()
            return found
        kinds, isolates = columns.kinds[slots], columns.isolates
        urgency = self._urgency(policy, now_ns)
        first = urgency.argmin()
        if isolates[slots[first]]:
            return [int(slots[first])]
        # Isolated slots are looked for among all there are: seldom is there one, and a copy of the column costs more.
        if _varies(kinds) or isolates[isolates.argmax()]:
            fitting = ((kinds == kinds[first]) & (isolates[slots] == 0)).nonzero()[0]
            slots, urgency = slots[fitting], urgency[fitting]
        chosen: list[int] = slots[_least(urgency, policy.max_batch)].tolist()
        return chosen

    def deadlines_ns(self, slots: list[int]) -> list[int]:
        """By when those are to be answered."""
        found: list[int] = self._columns.deadlines[slots].tolist()
        return found

    def _urgency(self, policy: BatchPolicy, now_ns: int) -> Words:
        """A number for each slot, of its own memory: the smaller, the more urgent."""
        arrivals, levels = self._columns.arrivals[self.slots], self._columns.levels[self.slots]
        if not _varies(levels):  # of one level nobody overtakes an earlier one, however long they have waited
            return arrivals
        # An unsigned number is compared with none below zero: early after boot nobody has waited for so long.
        once, twice = (max(0, now_ns - times * policy.aging_ns + 1) for times in (1, 2))
        lifted = np.minimum(levels + (arrivals < once) + (arrivals < twice), _HIGHEST_LEVEL)
        return arrivals | (_HIGHEST_LEVEL - lifted) << _RANK_SHIFT


def _varies(column: Words) -> bool:
    """Whether not all are equal. By places, because methods that give values are written in Python."""
    return bool(column[column.argmin()] != column[column.argmax()])


def _least(urgency: Words, most: int) -> Indices | list[np.intp]:
    """Where the smallest stand, at most `most`, in order; of equals the first first. Overwrites `urgency`."""
    if urgency.size <= _MANY or most >= urgency.size:
        return urgency.argsort(kind="stable")[:most]
    if most > _FEW:
        sorted_up_to = urgency.copy()
        sorted_up_to.partition(most - 1)
        near = (urgency <= sorted_up_to[most - 1]).nonzero()[0]
        nearest: Indices = near[urgency[near].argsort(kind="stable")[:most]]
        return nearest
    found = []
    for _ in range(most):
        found.append(urgency.argmin())
        urgency[found[-1]] = _LAST
    return found
