"""What an instance holds of the slots that it has leased together, and what it answers to them.

Columns, not objects: whatever is asked of a batch is asked of all its items at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.shm.layout import REQUEST_ID_BYTES, LaneWord
from engine.shm.records import KIND_FLOAT32, KIND_INT16, Outcome
from engine.shm.segment import Segment

# By kind of payload: what a sample is multiplied by beside its gain; how often its size in bytes is halved for frames.
_SCALES = {KIND_INT16: 1.0 / 32768.0, KIND_FLOAT32: 1.0}
_HALVINGS = {KIND_INT16: 1, KIND_FLOAT32: 2}


class Payloads(NamedTuple):
    """Sound in place, read-only: item k is `samples[k] * factors[k]`, as float32.

    `samples[k]` is an array `[frames]` of int16 or float32; `factors` is float32, `[items]`.
    """

    samples: Sequence[NDArray[Any]]
    factors: NDArray[np.float32]

    def part(self, positions: Sequence[int]) -> Payloads:
        """Those at these positions."""
        return Payloads([self.samples[k] for k in positions], self.factors[list(positions)])


class SlotReader:
    """The fields of slots that an instance reads once it has leased them. It keeps the mapping alive."""

    def __init__(self, segment: Segment) -> None:
        geometry, whole = segment.geometry, segment.array
        whole.flags.writeable = False
        self.segment = segment
        self.tables = segment.tables
        self.lane_slots = geometry.slots
        self.lane_rows = [segment.lane_row(lane) for lane in range(geometry.lanes)]
        start = geometry.payload_at(0)
        payloads = whole[start : start + geometry.slot_count * geometry.payload_stride_bytes]
        rows = payloads.reshape(geometry.slot_count, geometry.payload_stride_bytes)
        self.samples = rows.view(np.int16), rows.view(np.float32)  # by kind of payload, a row for each slot


class Batch:
    """Slots leased by one instance, in the order in which they were chosen; or a part of such a batch.

    Void after the reply: the slots are their frontends' then. Whatever may change meanwhile is read when it is asked.
    """

    __slots__ = ("slots", "words", "taken_ns", "started_ns", "_reader")

    def __init__(self, reader: SlotReader, slots: list[int], words: list[int], taken_ns: int) -> None:
        """`slots`: indices in the tables; `words`: their slot words, as LEASED by the instance."""
        self.slots = slots
        self.words = words
        self.taken_ns = taken_ns
        self.started_ns = 0  # set by Taker.start alone
        self._reader = reader

    def __len__(self) -> int:
        return len(self.slots)

    def part(self, positions: Iterable[int]) -> Batch:
        """The items at these positions."""
        places = list(positions)
        part = Batch(
            self._reader, [self.slots[k] for k in places], [self.words[k] for k in places], self.taken_ns
        )
        part.started_ns = self.started_ns
        return part

    def sort_out(self, now_ns: int) -> tuple[list[int], list[int], list[int]]:
        """The positions of those to compute, of those nobody waits for (cancelled, or their frontend is dead, as the
        supervisor has seen it), and of those whose deadline has passed."""
        cancel, deadline = self._reader.tables.cancel, self._reader.tables.deadline
        rows, lane_slots = self._reader.lane_rows, self._reader.lane_slots
        wanted: list[int] = []
        unwanted: list[int] = []
        expired: list[int] = []
        for position, slot in enumerate(self.slots):
            if cancel[slot] or rows[slot // lane_slots][LaneWord.ORPHANED]:
                unwanted.append(position)
            elif deadline[slot] <= now_ns:
                expired.append(position)
            else:
                wanted.append(position)
        return wanted, unwanted, expired

    def payloads(self) -> Payloads:
        """What to compute: the slots themselves, not copies."""
        kind, size, gain = self._reader.tables.kind, self._reader.tables.payload_size, self._reader.tables.gain
        rows = self._reader.samples
        samples: list[NDArray[Any]] = []
        factors: list[float] = []
        for slot in self.slots:
            of = kind[slot]
            samples.append(rows[of][slot, : size[slot] >> _HALVINGS[of]])
            factors.append(gain[slot] * _SCALES[of])
        return Payloads(samples, np.array(factors, dtype=np.float32))

    def column(self, field: str) -> list[int]:
        """A field of SLOT_FIELDS, for each item; `gain` is a float."""
        table: memoryview = getattr(self._reader.tables, field)
        return [table[slot] for slot in self.slots]

    def waited_ns(self) -> list[int]:
        """From the arrival of each item until it was taken."""
        taken_ns, arrival = self.taken_ns, self._reader.tables.arrival
        return [max(0, taken_ns - arrival[slot]) for slot in self.slots]

    def request_id(self, position: int) -> str:
        """At most 128 bytes of it."""
        segment = self._reader.segment
        start = segment.geometry.request_id_at(self.slots[position])
        return bytes(segment.bytes[start : start + REQUEST_ID_BYTES]).rstrip(b"\0").decode(errors="replace")


class BatchReply(NamedTuple):
    """What to answer to slots that ended alike."""

    batch: Batch
    outcome: Outcome
    probabilities: NDArray[np.float32] | None  # [items, classes]; for OK only
    error: str = ""  # what of it fits into the reply area travels
    batch_size: int = 0  # items that were computed together, 0 for none
