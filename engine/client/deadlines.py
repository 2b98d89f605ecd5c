"""When which ticket is due: a wheel of buckets, so that the common case (answered in time) costs two set operations.

A bucket is `1 << BUCKET_BITS` ns wide (4.2 ms) and is due at its end, never before a member's own moment; an expiry is
therefore at most one bucket late. Thread-safe.
"""

from __future__ import annotations

import heapq
import threading
from typing import Generic, TypeVar

BUCKET_BITS = 22
_SWEEP_FROM = 4096  # buckets; arbitrary

T = TypeVar("T")


class DeadlineWheel(Generic[T]):
    """Items by the moment they are due. An item is added once, and leaves by `due` unless it has left its bucket."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[int, set[T]] = {}
        self._order: list[int] = []  # heap of the keys of _buckets
        self._sweep_at = _SWEEP_FROM

    def add(self, item: T, at_ns: int) -> set[T]:
        """Adds `item`, due at the end of the bucket of `at_ns`. Returns the bucket: `discard` takes the item out."""
        number = at_ns >> BUCKET_BITS
        with self._lock:
            bucket = self._buckets.get(number)
            if bucket is None:
                if len(self._buckets) >= self._sweep_at:
                    self._sweep()
                bucket = self._buckets[number] = set()
                heapq.heappush(self._order, number)
            bucket.add(item)
            return bucket

    def _sweep(self) -> None:
        """Drops emptied buckets, which stay until they come first: with hours to go they would be a million sets.

        Caller holds the lock.
        """
        self._buckets = {bucket: members for bucket, members in self._buckets.items() if members}
        self._order = sorted(self._buckets)
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._buckets))

    def due(self, now_ns: int) -> list[T]:
        """Every item whose bucket has ended, removed."""
        found: list[T] = []
        with self._lock:
            while self._order and (self._order[0] + 1) << BUCKET_BITS <= now_ns:
                found += self._buckets.pop(heapq.heappop(self._order))
        return found

    def drain(self) -> list[T]:
        """Every item, removed."""
        found: list[T] = []
        with self._lock:
            for bucket in self._buckets.values():
                found += bucket  # in one step: other threads take out what is answered meanwhile
            self._buckets.clear()
            self._order.clear()
        return found

    def let_go_in_child(self) -> list[T]:
        """In a forked child, where whoever held the lock does not exist: every item, removed."""
        self._lock = threading.Lock()
        return self.drain()

    def next_ns(self) -> int | None:
        """When `due` may next have something; None when nothing is awaited."""
        with self._lock:
            while self._order and not self._buckets[self._order[0]]:
                del self._buckets[heapq.heappop(self._order)]
            return (self._order[0] + 1) << BUCKET_BITS if self._order else None
