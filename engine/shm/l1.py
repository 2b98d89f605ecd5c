"""The cache that all processes of this machine share: index and arenas in one piece of memory, put together.

Nobody waits for anybody. A process reads everything and writes into the one arena that it has claimed; without one
(more processes than arenas, too little memory) it only reads. Whatever a death, a race or damage leaves behind is a
miss.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from engine import crash_points
from engine.clock import now_ns, wall_clock_s
from engine.errors import InternalError
from engine.shm.byte_lock import ByteLocks
from engine.shm.cache_arena import ArenaWriter, CacheArenas
from engine.shm.cache_index import CacheIndex, hint_of
from engine.shm.cache_layout import CACHE_MAGIC, CACHE_VERSION, KEY_BYTES, ArenaWord, CacheGeometry, CacheHeader
from engine.shm.cache_record import CacheRecord, RecordKind, place_of
from engine.shm.forked import not_for_children
from engine.shm.memory import available_bytes
from engine.shm.words import WORD_BYTES, word_view

_CLAIM_AGAIN_NS = 1_000_000_000  # arbitrary; a claim in vain asks the kernel once for each arena


@dataclass(frozen=True, slots=True)
class L1Statistics:
    """What lies in the cache, over all processes; what has expired is counted until it is overwritten."""

    entries: int  # records
    bytes: int  # that they take
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a cache consists of while it is open."""

    geometry: CacheGeometry
    area: memoryview
    index: CacheIndex
    arenas: CacheArenas


def prepare_cache(fd: int, at: int, area: memoryview, writers: int) -> bool:
    """Makes an empty cache of the memory `area`, which lies at byte `at` of the file and is all zero.

    For whoever makes the file, before anybody else has it. `writers`: processes that shall each have an arena. False if
    there is too little of `area`, or too little memory for the index: then there is no cache.
    """
    try:
        geometry = CacheGeometry.fitting(len(area), writers)
        if available_bytes() < geometry.arenas_at:
            return False
        os.posix_fallocate(fd, at, geometry.arenas_at)
    except (InternalError, OSError):
        return False
    header = word_view(area, 0, CacheHeader.WORDS)
    header[CacheHeader.VERSION] = CACHE_VERSION
    header[CacheHeader.AREA_BYTES] = geometry.area_bytes
    header[CacheHeader.ARENAS] = geometry.arenas
    header[CacheHeader.MAGIC] = CACHE_MAGIC  # last: the header is complete
    return True


class L1:
    """One process's way into the cache. Thread-safe."""

    def __init__(self, fd: int, at: int, area: memoryview, count: Callable[[str, int], object]) -> None:
        """Over memory that `prepare_cache` has made a cache of; `fd` stays the caller's.

        `count`: told ("l1.torn", 1) of each record that was not whole, and of what is "l1.evicted", by any thread.
        Raises InternalError if there is no cache of this version, OSError without a descriptor.
        """
        geometry = geometry_of(area)
        if geometry is None:
            raise InternalError("there is no cache of this version in this memory")
        self._count = count
        arenas = CacheArenas(area, geometry, lambda: count("l1.torn", 1))
        self._parts: _Parts | None = _Parts(geometry, area, CacheIndex(area, geometry), arenas)
        self.largest_value_bytes = geometry.largest_value_bytes
        self._at = at
        self._locks = ByteLocks(fd)
        self._lock = threading.Lock()  # around the writer: one thread at a time
        self._writer: ArenaWriter | None = None
        self._claim_at_ns = 0  # no claim before
        self.lacks_memory = False  # written by `_claim`: the last one failed for it
        not_for_children(self)

    def get(self, key: bytes, kind: int = RecordKind.ANSWER) -> CacheRecord | None:
        """What was kept of this kind under a key of 32 bytes, unless it has expired."""
        parts = self._parts
        if parts is None:
            return None
        for hint in parts.index.hints(place_of(key, kind)):
            record = parts.arenas.read(hint, key, kind)
            if record is not None and record.expires_at_ms > _now_ms():
                return record
        return None

    def claim(self) -> bool:
        """Whether this process may write. Allocates its arena, which takes a millisecond for 10 MB: not for a loop.

        Without it the first `put` does so; and each, once a second, while there is none to be had.
        """
        with self._lock:
            return self._parts is not None and self._arena_of(self._parts) is not None

    def put(self, key: bytes, value: bytes, expires_at_ms: int, kind: int = RecordKind.ANSWER) -> bool:
        """Keeps a value. False if it is too large, or this process can only read; never waits for another process.

        `expires_at_ms`: milliseconds since 1970. Raises InternalError for a key that is not 32 bytes long.
        """
        if len(key) != KEY_BYTES:
            raise InternalError(f"a key of the cache has {KEY_BYTES} bytes, not {len(key)}")
        if len(value) > self.largest_value_bytes:
            return False
        with self._lock:
            parts = self._parts
            writer = self._arena_of(parts) if parts is not None else None
            if parts is None or writer is None:
                return False
            _store(parts, writer, key, CacheRecord(value, expires_at_ms, kind))
            evicted = writer.take_evicted()
        if evicted:
            self._count("l1.evicted", evicted)
        return True

    def statistics(self) -> L1Statistics:
        """The same from every process, give or take what is just being written."""
        parts = self._parts
        if parts is None:
            return L1Statistics(0, 0, 0)
        return _statistics(parts.geometry, parts.arenas)

    def close(self) -> None:
        """Gives the arena back; from then on nothing is found or kept. Idempotent."""
        with self._lock:
            self._parts = self._writer = None
            self._locks.close()

    def let_go_in_child(self) -> None:
        """The arena is the parent's: a second writer would tear what that one writes."""
        self._lock = threading.Lock()
        self._parts = self._writer = None

    def _arena_of(self, parts: _Parts) -> ArenaWriter | None:
        """The arena of this process; claims one if the last claim was long ago. Caller holds the lock."""
        if self._writer is None and now_ns() >= self._claim_at_ns:
            self._claim_at_ns = now_ns() + _CLAIM_AGAIN_NS
            self._writer = self._claim(parts)
        return self._writer

    def _claim(self, parts: _Parts) -> ArenaWriter | None:
        """The first arena that nobody has, with its memory allocated, so that no store into it ends in SIGBUS."""
        geometry = parts.geometry
        self.lacks_memory = False
        for arena in range(geometry.arenas):
            at = self._at + geometry.arena_at(arena)
            if self._locks.try_lock(at):
                if self._has_memory(parts, arena, at):
                    return ArenaWriter(parts.area, geometry, parts.arenas.row(arena), arena)
                self._locks.unlock(at)
                self.lacks_memory = True
        return None

    def _has_memory(self, parts: _Parts, arena: int, at: int) -> bool:
        size = parts.geometry.arena_bytes
        if not parts.arenas.row(arena)[ArenaWord.HEAD] and available_bytes() < size:
            return False
        try:
            os.posix_fallocate(self._locks.fileno(), at, size)
        except OSError:  # asked for again by a later claim
            return False
        return True


def _store(parts: _Parts, writer: ArenaWriter, key: bytes, record: CacheRecord) -> None:
    """By the one thread that may use `writer`."""
    now_ms = _now_ms()
    place = place_of(key, record.kind)
    offset = writer.append(key, record, now_ms)

    def is_current(hint: int, at: int) -> bool:
        return parts.arenas.is_current(hint, lambda found: parts.index.belongs(hint, found, at), now_ms)

    parts.index.insert(hint_of(place, writer.arena, offset), place, is_current)
    crash_points.reach("cache.hint")


def geometry_of(area: memoryview) -> CacheGeometry | None:
    """What `prepare_cache` has made of this memory; None if that is no cache, or one that this code cannot read."""
    if len(area) < WORD_BYTES * CacheHeader.WORDS:
        return None
    header = word_view(area, 0, CacheHeader.WORDS)
    sizes = CacheGeometry.fitting(len(area), header[CacheHeader.ARENAS])
    if header.tolist() != [CACHE_MAGIC, CACHE_VERSION, len(area), sizes.arenas]:
        return None
    return sizes


def statistics_of(area: memoryview) -> L1Statistics | None:
    """What lies in the cache that `prepare_cache` has made of this memory; None if there is none."""
    geometry = geometry_of(area)
    return None if geometry is None else _statistics(geometry, CacheArenas(area, geometry, lambda: None))


def _statistics(geometry: CacheGeometry, arenas: CacheArenas) -> L1Statistics:
    rows = [arenas.row(arena).tolist() for arena in range(geometry.arenas)]
    return L1Statistics(
        entries=sum(max(0, row[ArenaWord.WRITTEN] - row[ArenaWord.LEFT]) for row in rows),
        bytes=sum(max(0, row[ArenaWord.HEAD] - row[ArenaWord.TAIL]) for row in rows),
        capacity_bytes=geometry.arena_bytes * geometry.arenas,
    )


def _now_ms() -> int:
    return int(wall_clock_s() * 1000)
