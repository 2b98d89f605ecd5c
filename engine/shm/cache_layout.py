"""Where everything lies in the memory of the cache: drawn in `engine/README.md`, "The bytes of the cache".

All numbers are unsigned 64-bit words in the machine's byte order. Offsets count from the beginning of this memory,
which begins at a page of the file it lies in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from engine.errors import InternalError
from engine.shm.words import WORD_BYTES

CACHE_MAGIC = int.from_bytes(b"NIGHTSL1", "little")
CACHE_VERSION = 1
RECORD_MAGIC = int.from_bytes(b"NSRECD01", "little")

PAGE_BYTES = 4096
UNIT_BYTES = 64  # records begin and end at multiples of it
WAYS = 8  # index words of one set: one cache line
KEY_BYTES = 32
UNIT_BITS, ARENA_BITS = 28, 12  # of an index word; above them the tag
MOST_ARENAS = (1 << ARENA_BITS) - 1
LEAST_ARENA_BYTES = 256 * 1024  # below it the largest value would be less than that of one long recording
_BYTES_FOR_ONE_WORD = 256  # a small record: so many bytes of arenas have one word of the index
_VALUES_IN_AN_ARENA = 4  # the largest value leaves room for others


class CacheHeader:
    """Word numbers in the header."""

    MAGIC, VERSION, AREA_BYTES, ARENAS = range(4)
    WORDS = 4


class ArenaWord:
    """Word numbers in the row of an arena."""

    HEAD, TAIL, WRITTEN, LEFT = range(4)
    WORDS = 8


class RecordWord:
    """Word numbers in the header of a record."""

    CHECKSUM, MAGIC, KIND, KEY = 0, 1, 2, 3
    EXPIRES_AT_MS, LENGTH, POSITION, SEQUENCE = 7, 8, 9, 10
    WORDS = 11


RECORD = struct.Struct("=QQQ32sQQQQ")  # the words of a record's header, in their order
RECORD_BYTES = RECORD.size
CHECKED_FROM = WORD_BYTES  # the checksum is over everything behind itself


@dataclass(frozen=True)
class CacheGeometry:
    """Sizes of the memory of one cache, and the byte offset of everything in it."""

    area_bytes: int
    arenas: int

    def __post_init__(self) -> None:
        if not 1 <= self.arenas <= MOST_ARENAS or self.arena_bytes < PAGE_BYTES:
            raise InternalError(f"no cache of {self.area_bytes} bytes has {self.arenas} arenas")
        if self.arena_bytes >= UNIT_BYTES << UNIT_BITS:
            raise InternalError(f"an arena of {self.arena_bytes} bytes is more than an index word can point into")

    @classmethod
    def fitting(cls, area_bytes: int, writers: int) -> CacheGeometry:
        """One arena for each of `writers`, as long as each is large enough to be of use.

        Raises InternalError for less memory than one arena and the index take.
        """
        return cls(area_bytes, max(1, min(writers, MOST_ARENAS, area_bytes // LEAST_ARENA_BYTES)))

    @cached_property
    def sets(self) -> int:
        """Sets of the index."""
        return max(1, self.area_bytes // (_BYTES_FOR_ONE_WORD * WAYS))

    @cached_property
    def rows_at(self) -> int:
        return PAGE_BYTES

    @cached_property
    def index_at(self) -> int:
        return self.rows_at + self.arenas * ArenaWord.WORDS * WORD_BYTES

    @cached_property
    def arenas_at(self) -> int:
        """Where the first arena begins: what lies before is allocated when the cache is made."""
        return -(-(self.index_at + self.sets * WAYS * WORD_BYTES) // PAGE_BYTES) * PAGE_BYTES

    @cached_property
    def arena_bytes(self) -> int:
        """Of each arena, in whole pages."""
        return (self.area_bytes - self.arenas_at) // self.arenas // PAGE_BYTES * PAGE_BYTES

    @cached_property
    def largest_value_bytes(self) -> int:
        """Of a value that is kept."""
        return self.arena_bytes // _VALUES_IN_AN_ARENA

    def arena_at(self, arena: int) -> int:
        return self.arenas_at + arena * self.arena_bytes


def record_size(value_bytes: int) -> int:
    """Bytes that a record takes in its arena."""
    return -(-(RECORD_BYTES + value_bytes) // UNIT_BYTES) * UNIT_BYTES
