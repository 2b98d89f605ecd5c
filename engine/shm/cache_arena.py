"""The records of the cache: arenas, each with one writer, written round as a log.

From TAIL to HEAD lie whole records, one behind the other, each at its own POSITION: a count of bytes that never begins
again; where it lies in the arena is its remainder. The writer moves TAIL past what it will overwrite, writes, and then
moves HEAD: whenever it is killed, what lies between the two is whole, and the next owner goes on at HEAD. A record
does not go round the end of its arena; what is left there has no record of the right position, and is passed over.
"""

from __future__ import annotations

from collections.abc import Callable

from engine import crash_points
from engine.shm.cache_index import target_of
from engine.shm.cache_layout import (
    RECORD_BYTES,
    RECORD_MAGIC,
    UNIT_BYTES,
    ArenaWord,
    CacheGeometry,
    RecordWord,
    record_size,
)
from engine.shm.cache_record import CacheRecord, is_of, length_in, pack_record, place_of, unpack_record
from engine.shm.words import WORD_BYTES, word_view

_FIRST_BYTES = 512  # of a record are copied at once: all of a small one


class CacheArenas:
    """All arenas of one cache, for reading. Takes no lock: reads copies, and believes what their checksum says."""

    def __init__(self, area: memoryview, geometry: CacheGeometry, on_torn: Callable[[], object]) -> None:
        """`on_torn`: called for each copy that was no whole record, by whichever thread reads."""
        self._area = area
        self._geometry = geometry
        self._on_torn = on_torn
        self._rows = word_view(area, geometry.rows_at, geometry.arenas * ArenaWord.WORDS)

    def row(self, arena: int) -> memoryview:
        """The words of an arena's row."""
        return self._rows[arena * ArenaWord.WORDS : (arena + 1) * ArenaWord.WORDS]

    def read(self, hint: int, key: bytes, kind: int) -> CacheRecord | None:
        """The record that a hint points to, if it is there, whole, and of this key and kind."""
        arena, offset = target_of(hint)
        room = self._filled(arena) - offset
        if room < RECORD_BYTES:
            return None
        start = self._geometry.arena_at(arena) + offset
        copy = bytes(self._area[start : start + min(room, _FIRST_BYTES)])
        if not is_of(copy, key, kind):
            return None
        length = length_in(copy)
        if len(copy) < length <= room:
            copy = bytes(self._area[start : start + length])
        record = unpack_record(copy[:length], key, kind)
        if record is None:
            self._on_torn()
        return record

    def is_current(self, hint: int, belongs: Callable[[int], bool], now_ms: int) -> bool:
        """Whether a record that has not expired lies where a hint points; `belongs`: of its `place_of`, the hint's own.

        Of what is being overwritten any answer will do: it costs an entry.
        """
        arena, offset = target_of(hint)
        if self._filled(arena) - offset < RECORD_BYTES:
            return False
        words = word_view(self._area, self._geometry.arena_at(arena) + offset, RecordWord.WORDS)
        if words[RecordWord.MAGIC] != RECORD_MAGIC or words[RecordWord.EXPIRES_AT_MS] <= now_ms:
            return False
        return belongs(place_of(words[RecordWord.KEY].to_bytes(WORD_BYTES, "little"), words[RecordWord.KIND]))

    def _filled(self, arena: int) -> int:
        """Bytes of an arena that were ever written: the rest may not even be allocated."""
        if not 0 <= arena < self._geometry.arenas:
            return 0
        return min(int(self._rows[arena * ArenaWord.WORDS + ArenaWord.HEAD]), self._geometry.arena_bytes)


class ArenaWriter:
    """The permission to write into one arena: whoever has its lock has one. Not thread-safe."""

    def __init__(self, area: memoryview, geometry: CacheGeometry, row: memoryview, arena: int) -> None:
        """Goes on where the last owner stopped; a row that cannot be begins anew. The arena must be allocated."""
        start = geometry.arena_at(arena)
        self.arena = arena
        self._capacity = geometry.arena_bytes
        self._bytes = area[start : start + self._capacity]
        self._words = word_view(area, start, self._capacity // WORD_BYTES)
        self._row = row
        self._evicted = 0  # since `take_evicted`
        head, tail = row[ArenaWord.HEAD], row[ArenaWord.TAIL]
        if head % UNIT_BYTES or tail % UNIT_BYTES or not 0 <= head - tail <= self._capacity:
            row[ArenaWord.TAIL] = row[ArenaWord.HEAD] = 0

    def append(self, key: bytes, record: CacheRecord, now_ms: int) -> int:
        """Writes a record over the oldest ones and returns its offset; of `largest_value_bytes` at most."""
        row = self._row
        size = record_size(len(record.value))
        position = row[ArenaWord.HEAD]
        if self._capacity - position % self._capacity < size:
            position = (position // self._capacity + 1) * self._capacity
        self._make_room(position + size, now_ms)
        crash_points.reach("cache.tail")
        packed = pack_record(key, record, position, row[ArenaWord.WRITTEN])
        offset = position % self._capacity
        self._bytes[offset : offset + len(packed)] = packed
        crash_points.reach("cache.record")
        row[ArenaWord.WRITTEN] += 1
        # Behind the record's bytes, or after a kill a next owner would take for whole what was never written.
        # Partner: `_filled`.
        row[ArenaWord.HEAD] = position + size
        crash_points.reach("cache.head")
        return int(offset)

    def take_evicted(self) -> int:
        """How many records were overwritten before they expired, since this was last asked."""
        evicted, self._evicted = self._evicted, 0
        return evicted

    def _make_room(self, end: int, now_ms: int) -> None:
        """Moves TAIL until nothing between it and HEAD lies where the log goes on up to `end`.

        Before anything is overwritten: of what is overwritten a next owner would find no whole records.
        """
        row = self._row
        head, tail = row[ArenaWord.HEAD], row[ArenaWord.TAIL]
        while end - tail > self._capacity and tail < head:
            tail = min(head, self._next(tail, now_ms))
            row[ArenaWord.TAIL] = tail
        if tail == head:
            row[ArenaWord.LEFT] = row[ArenaWord.WRITTEN]
            row[ArenaWord.TAIL] = head

    def _next(self, tail: int, now_ms: int) -> int:
        """The position behind the oldest record, which is counted as gone; else that of the arena's beginning."""
        offset = tail % self._capacity
        at = offset // WORD_BYTES
        words = self._words[at : at + RecordWord.WORDS]
        lap_end = tail - offset + self._capacity
        if len(words) < RecordWord.WORDS:
            return lap_end
        if words[RecordWord.MAGIC] != RECORD_MAGIC or words[RecordWord.POSITION] != tail:
            return lap_end
        self._row[ArenaWord.LEFT] = words[RecordWord.SEQUENCE] + 1
        self._evicted += words[RecordWord.EXPIRES_AT_MS] > now_ms
        return min(lap_end, tail + record_size(words[RecordWord.LENGTH]))
