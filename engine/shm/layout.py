"""Where everything lies in a segment: the only module that computes offsets. Drawn in `engine/README.md`, "The bytes".

All numbers are unsigned 64-bit words in the machine's byte order (`gain`: float64). Areas begin at multiples of 64
bytes, so that no two of them share a cache line.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

from engine.errors import InternalError
from engine.observe.metrics import INSTANCE_COUNTERS, LANE_COUNTERS
from engine.shm.words import WORD_BYTES

MAGIC = int.from_bytes(b"NIGHTSCN", "little")
PAGE_BYTES = 4096  # of x86-64
HEADER_BYTES = PAGE_BYTES
REQUEST_ID_BYTES = 128
ORDERED_WORDS = 256  # a name is forgotten when one 256 younger is ordered to die; its death is long over then
ERROR_TEXT_BYTES = 512  # the reply area holds at least this much text of an error in place of probabilities

# One table per field, over the slots of all lanes (index = lane * S + slot).
SLOT_FIELDS = (
    "word", "arrival", "level", "deadline", "cancel", "started", "attempt", "isolate", "caller", "kind", "payload_size",
    "gain", "outcome", "batch_size", "taken", "begun", "done", "reply_size",
)  # fmt: skip


class Header:
    """Word numbers in the header."""

    MAGIC, VERSION, LANES, SLOTS, PAYLOAD_BYTES, REPLY_BYTES, INSTANCE_ROWS, TOTAL_BYTES = range(8)
    CLOSING, NAME_COUNTER, HOLDER, FOLDING, FOLDS, KEEPS_PAGES = range(8, 14)
    FOLDED = 16  # totals of the instances that are gone, one word per instance counter
    FOLD_TARGET = 32  # what the totals become once FOLDING names the row that is being folded in
    CARRIED = 64  # what earlier versions counted, one word per lane counter and then per instance counter
    ORDERED = 256  # names whose death was ordered, each at its number modulo ORDERED_WORDS


class InstanceWord:
    """Word numbers in the row of an instance."""

    NAME, PID, START_TICKS, GO, SEAT, DEVICE = range(6)
    COUNTERS = 6
    IDLE = 15
    WORDS = 16


ON_CPU = 1  # in InstanceWord.DEVICE; cuda:N is N + 2


def device_number(device: str) -> int:
    """One word for a device: 0 not said, 1 cpu, N + 2 for cuda:N."""
    if device in ("", "cpu"):
        return ON_CPU if device else 0
    return int(device.removeprefix("cuda:")) + 2


def device_name(number: int) -> str:
    """The device of such a word."""
    return ("", "cpu")[number] if number < 2 else f"cuda:{number - 2}"


class LaneWord:
    """Word numbers in the row of a lane."""

    PID, START_TICKS, EPOCH, ORPHANED, WAITING = range(5)
    COUNTERS = 8
    WORDS = -(-(COUNTERS + len(LANE_COUNTERS)) // 8) * 8


# The names of the fields are part of the version: a process with other counters must not attach.
LAYOUT_VERSION = 5 << 32 | zlib.crc32(repr((SLOT_FIELDS, LANE_COUNTERS, INSTANCE_COUNTERS)).encode())


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // 64) * 64


def _whole_pages(start: int, size: int) -> tuple[int, int]:
    """Start and size of the pages that lie in these bytes entirely."""
    first, end = -(-start // PAGE_BYTES) * PAGE_BYTES, (start + size) // PAGE_BYTES * PAGE_BYTES
    return first, max(0, end - first)


@dataclass(frozen=True)
class Geometry:
    """Sizes of one segment, and the byte offset of everything in it."""

    lanes: int
    slots: int  # of one lane
    payload_bytes: int  # largest payload of one slot
    reply_bytes: int  # of the probabilities of one reply: 4 * classes
    instance_rows: int = 256

    def __post_init__(self) -> None:
        if min(self.lanes, self.slots, self.payload_bytes, self.reply_bytes, self.instance_rows) < 1:
            raise InternalError(f"every size of a segment must be at least 1: {self}")
        if len(INSTANCE_COUNTERS) > InstanceWord.IDLE - InstanceWord.COUNTERS:
            raise InternalError(f"{len(INSTANCE_COUNTERS)} instance counters do not fit into their row")
        if len(LANE_COUNTERS) + len(INSTANCE_COUNTERS) > Header.ORDERED - Header.CARRIED:
            raise InternalError("the carried counters do not fit into the header")

    @cached_property
    def slot_count(self) -> int:
        """Slots of all lanes."""
        return self.lanes * self.slots

    @cached_property
    def payload_stride_bytes(self) -> int:
        return _aligned(self.payload_bytes)

    @cached_property
    def reply_stride_bytes(self) -> int:
        return _aligned(max(self.reply_bytes, ERROR_TEXT_BYTES))

    @cached_property
    def table_stride_bytes(self) -> int:
        return _aligned(WORD_BYTES * self.slot_count)

    @cached_property
    def lane_rows_at(self) -> int:
        return HEADER_BYTES + WORD_BYTES * InstanceWord.WORDS * self.instance_rows

    @cached_property
    def tables_at(self) -> int:
        return _aligned(self.lane_rows_at + WORD_BYTES * LaneWord.WORDS * self.lanes)

    @cached_property
    def request_ids_at(self) -> int:
        return self.tables_at + self.table_stride_bytes * len(SLOT_FIELDS)

    @cached_property
    def replies_at(self) -> int:
        return self.request_ids_at + REQUEST_ID_BYTES * self.slot_count

    @cached_property
    def payloads_at(self) -> int:
        return self.replies_at + self.reply_stride_bytes * self.slot_count

    @cached_property
    def total_bytes(self) -> int:
        """Size of the segment, in whole pages."""
        end = self.payloads_at + self.payload_stride_bytes * self.slot_count
        return -(-end // PAGE_BYTES) * PAGE_BYTES

    def lane_pages(self, lane: int) -> tuple[tuple[int, int], ...]:
        """Start and size, in bytes, of the whole pages that hold payloads or replies of `lane` and nothing else."""
        spans = (
            (self.replies_at, self.reply_stride_bytes * self.slots),
            (self.payloads_at, self.payload_stride_bytes * self.slots),
        )
        return tuple(_whole_pages(start + size * lane, size) for start, size in spans)

    def common_pages(self) -> list[tuple[int, int]]:
        """The same of everything else: header, rows, tables, request ids, and pages that two lanes share."""
        own = sorted(pages for lane in range(self.lanes) for pages in self.lane_pages(lane))
        starts = [0, *(start + size for start, size in own)]
        ends = [*(start for start, _ in own), self.total_bytes]
        return [(start, end - start) for start, end in zip(starts, ends, strict=True) if end > start]

    def instance_row_at(self, row: int) -> int:
        return HEADER_BYTES + WORD_BYTES * InstanceWord.WORDS * row

    def lane_row_at(self, lane: int) -> int:
        return self.lane_rows_at + WORD_BYTES * LaneWord.WORDS * lane

    def table_at(self, field: str) -> int:
        return self.tables_at + self.table_stride_bytes * SLOT_FIELDS.index(field)

    def request_id_at(self, index: int) -> int:
        return self.request_ids_at + REQUEST_ID_BYTES * index

    def reply_at(self, index: int) -> int:
        return self.replies_at + self.reply_stride_bytes * index

    def payload_at(self, index: int) -> int:
        return self.payloads_at + self.payload_stride_bytes * index
