"""Where everything lies in the machine segment: the only module that computes its offsets.

Drawn in `engine/README.md`, "The bytes of the machine". Words as in `layout.py`; every area begins at a whole page.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

from engine.errors import InternalError
from engine.observe.metrics import LENT_POOLS, PROCESS_COUNTERS, PROCESS_GAUGES, SEAT_COUNTERS, SEAT_GAUGES
from engine.shm.layout import PAGE_BYTES
from engine.shm.words import WORD_BYTES

MACHINE_MAGIC = int.from_bytes(b"NIGHTMCH", "little")


class MachineHeader:
    """Word numbers in the header."""

    MAGIC, VERSION, ROWS, L1_BYTES, TOTAL_BYTES = range(5)


class ProcessWord:
    """Word numbers in the row of a process."""

    EPOCH, PID, START_TICKS = range(3)
    REQUESTS, REQUESTS_FAILED, REQUESTS_READ = 3, 4, 5  # see `request_ring.py` and `ring_reader.py`
    LOANS = 8  # one word per pool of LENT_POOLS; see `engine/core/lending.py`
    HOLDINGS = 12  # the same
    COUNTERS = 16
    GAUGES = 256
    WORDS = 320


class SeatWord:
    """Word numbers in the row of a seat."""

    SAYS, BEGUN_AT, LEFT, SEAT, DEVICE = range(5)
    DEPLOYMENT = 8  # SEAT_NAME_BYTES of text
    COUNTERS = 24
    GAUGES = 112
    WORDS = 128


SEAT_NAME_BYTES = WORD_BYTES * (SeatWord.COUNTERS - SeatWord.DEPLOYMENT)
SEAT_ROWS = 256  # as many as a segment has instances

# The last requests of a process: so many places of so many bytes, for all, for failures, and for the slowest.
LAST_PLACES, ERROR_PLACES, SLOW_PLACES = 128, 32, 16
REQUEST_PLACES = LAST_PLACES + ERROR_PLACES + SLOW_PLACES
PLACE_BYTES = 512
REQUEST_RING_BYTES = REQUEST_PLACES * PLACE_BYTES  # whole pages

# The names of the fields are part of the version: a process with other counters must not attach.
_NAMES = (PROCESS_COUNTERS, PROCESS_GAUGES, LENT_POOLS, SEAT_COUNTERS, SEAT_GAUGES)
MACHINE_VERSION = 2 << 32 | zlib.crc32(repr(_NAMES).encode())

SUPERVISOR_ROW = 0  # the others are for whoever comes


@dataclass(frozen=True)
class MachineGeometry:
    """Sizes of the machine segment, and the byte offset of everything in it."""

    rows: int  # most processes that count at a time
    l1_bytes: int  # of the area for L1, a multiple of a page; 0: there is none
    l1_writers: int = 1  # processes that shall each have an arena of it; asked when it is made only

    def __post_init__(self) -> None:
        if self.rows < 1 or self.l1_bytes < 0 or self.l1_bytes % PAGE_BYTES:
            raise InternalError(f"not the sizes of a machine segment: {self}")
        rooms = (
            (len(LENT_POOLS), ProcessWord.HOLDINGS - ProcessWord.LOANS),
            (len(LENT_POOLS), ProcessWord.COUNTERS - ProcessWord.HOLDINGS),
            (len(PROCESS_COUNTERS), ProcessWord.GAUGES - ProcessWord.COUNTERS),
            (len(PROCESS_GAUGES), ProcessWord.WORDS - ProcessWord.GAUGES),
            (len(SEAT_COUNTERS), SeatWord.GAUGES - SeatWord.COUNTERS),
            (len(SEAT_GAUGES), SeatWord.WORDS - SeatWord.GAUGES),
        )
        if any(count > room for count, room in rooms):
            raise InternalError(f"what is counted does not fit into its row: {rooms}")

    @cached_property
    def rows_at(self) -> int:
        return PAGE_BYTES

    @cached_property
    def row_bytes(self) -> int:
        return WORD_BYTES * ProcessWord.WORDS

    @cached_property
    def seats_at(self) -> int:
        return self.rows_at + -(-self.rows * self.row_bytes // PAGE_BYTES) * PAGE_BYTES

    @cached_property
    def seat_bytes(self) -> int:
        return WORD_BYTES * SeatWord.WORDS

    @cached_property
    def rings_at(self) -> int:
        """Up to here all pages are there from the beginning; those of a ring come with its first owner."""
        return self.seats_at + -(-SEAT_ROWS * self.seat_bytes // PAGE_BYTES) * PAGE_BYTES

    @cached_property
    def l1_at(self) -> int:
        return self.rings_at + self.rows * REQUEST_RING_BYTES

    @cached_property
    def total_bytes(self) -> int:
        return self.l1_at + self.l1_bytes

    def row_at(self, row: int) -> int:
        """Also the byte whose lock is the permission to write the row."""
        return self.rows_at + self.row_bytes * row

    def ring_at(self, row: int) -> int:
        """Where the last requests of the process in `row` are, REQUEST_RING_BYTES."""
        return self.rings_at + REQUEST_RING_BYTES * row

    def seat_at(self, row: int) -> int:
        """The same of the row of a seat."""
        return self.seats_at + self.seat_bytes * row
