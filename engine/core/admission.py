"""Who may wait, and in which order: admission and the waiting line of one frontend.

Pure decisions: moments and counts come in as numbers. A *request* is admitted when fewer than the bound wait on the
whole machine; how many segments it carries does not matter here, since one request keeps at most a window of slots.

In the line the most urgent is next, by level with aging and by arrival (`core.aging`).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

from engine.core.aging import LEVELS, by_urgency

RETRY_AFTER_MIN_S = 1.0  # a header of 0 would have clients hammer; the figure is arbitrary
RETRY_AFTER_MAX_S = 30.0  # past this the caller's own deadline has long passed
_COMPACT_FROM = 32  # abandoned entries below this number are not worth a rebuild

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Admission:
    """A verdict. `retry_after_s` says when trying again makes sense; 0.0 for the admitted."""

    admitted: bool
    retry_after_s: float = 0.0


_ADMITTED = Admission(True)


def admit(*, waiting: int, bound: int, drain_per_s: float) -> Admission:
    """Whether one more request may wait.

    `waiting`: requests that wait already, over all frontends. `drain_per_s`: answers per second while busy, 0.0 when
    not known; the time after which the whole line has drained is what a refused caller is told.
    """
    if waiting < bound:
        return _ADMITTED
    wanted_s = waiting / drain_per_s if drain_per_s > 0.0 else RETRY_AFTER_MIN_S
    return Admission(False, min(RETRY_AFTER_MAX_S, max(RETRY_AFTER_MIN_S, wanted_s)))


def level_of(priority: float) -> int:
    """The level that a caller's priority stands for: negative, zero, positive -> -1, 0, 1."""
    return int(priority > 0) - int(priority < 0)


def slot_window(slots: int) -> int:
    """How many of a lane's `slots` one request may hold at once: a quarter is left to others.

    Not less, because a long recording that is alone should keep several instances in full batches.
    """
    return slots - slots // 4


@dataclass(frozen=True, slots=True)
class _Head(Generic[T]):
    """Whoever is first in one level."""

    level: int
    arrival_ns: int
    item: T


class WaitingLine(Generic[T]):
    """Requests without a slot, in the order in which they get one. Takes no lock; the caller holds its own.

    `len(line)` counts what waits: put adds one, discard removes one, drain all.
    """

    def __init__(self, aging_ns: int) -> None:
        self._aging_ns = aging_ns
        self._heaps: dict[int, list[tuple[int, int, T]]] = {level: [] for level in LEVELS}
        self._where: dict[int, int] = {}  # id(item) -> the number of its live entry
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, item: T) -> bool:
        return id(item) in self._where

    def put(self, item: T, *, level: int, arrival_ns: int) -> None:
        """Adds `item`; an item that came back keeps its place by its arrival. At most one entry an item."""
        self._numbers += 1
        self._where[id(item)] = self._numbers
        heapq.heappush(self._heaps[level], (arrival_ns, self._numbers, item))

    def discard(self, item: T) -> bool:
        """Takes `item` out wherever it stands; False when it was not waiting."""
        if self._where.pop(id(item), None) is None:
            return False
        stale = sum(map(len, self._heaps.values())) - len(self._where)
        if stale > _COMPACT_FROM and stale > len(self._where):
            self._compact()
        return True

    def first(self, now_ns: int) -> T | None:
        """The item whose turn it is, which goes on waiting until it is discarded; None when nobody waits."""
        heads = [head for level in LEVELS if (head := self._head(level)) is not None]
        return by_urgency(heads, now_ns=now_ns, aging_ns=self._aging_ns)[0].item if heads else None

    def drain(self) -> list[T]:
        """Everybody who waits, removed."""
        found = [entry[2] for heap in self._heaps.values() for entry in heap if self._alive(entry)]
        self._where.clear()
        for heap in self._heaps.values():
            heap.clear()
        return found

    def _alive(self, entry: tuple[int, int, T]) -> bool:
        return self._where.get(id(entry[2])) == entry[1]

    def _head(self, level: int) -> _Head[T] | None:
        heap = self._heaps[level]
        while heap and not self._alive(heap[0]):
            heapq.heappop(heap)
        return _Head(level, heap[0][0], heap[0][2]) if heap else None

    def _compact(self) -> None:
        for level, heap in self._heaps.items():
            self._heaps[level] = [entry for entry in heap if self._alive(entry)]
            heapq.heapify(self._heaps[level])
