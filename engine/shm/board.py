"""Counters in the segment: one row per lane, one per instance, each with one writer, so that no lock spans processes.

Rows outlive their writers. The counters of a lane go on with its next owner; those of an instance that is gone are
folded into totals in the header when the supervisor clears its row.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.core.carrying import Part
from engine.errors import InternalError
from engine.observe.histograms import LATENCY
from engine.observe.metrics import INSTANCE_COUNTERS, LANE_COUNTERS
from engine.shm.layout import ON_CPU, Header, InstanceWord, LaneWord
from engine.shm.segment import Segment
from engine.shm.words import READY, WORD_BYTES

_LANE_WORD = {name: LaneWord.COUNTERS + k for k, name in enumerate(LANE_COUNTERS)}
_REQUESTS, _SUCCEEDED, _LATENCY = (_LANE_WORD[name] for name in ("requests", "succeeded", "latency_ns"))
_INSTANCE_WORD = {name: InstanceWord.COUNTERS + k for k, name in enumerate(INSTANCE_COUNTERS)}
_LATENCY_WORDS = tuple(_LANE_WORD[name] for name in LATENCY.buckets)
_WORD_MASK = (1 << 64) - 1
_LOOKS = 100  # at totals that change while they are read; one more is needed every time an instance has died

COUNTED = len(LANE_COUNTERS) + len(INSTANCE_COUNTERS)  # figures of a Part: lane counters, then instance counters


class LaneBoard:
    """The counters of one lane, for the process that owns it, until it is closed. Thread-safe."""

    def __init__(self, segment: Segment, lane: int) -> None:
        self._words = segment.lane_row(lane)
        self._lock = threading.Lock()  # an increment is a load and a store, and frontends have threads
        self._closed = False

    def add(self, name: str, n: int = 1) -> bool:
        """`add_sums` for one."""
        return self.add_sums(((name, n),))

    def add_all(self, counts: Iterable[tuple[str, int]]) -> bool:
        """`add_sums`, where the `latency_ns` of one request counts into its bucket of the histogram too."""
        words = self._words
        with self._lock:
            if not self._closed:
                for name, n in counts:
                    word = _LANE_WORD[name]
                    words[word] = (words[word] + n) & _WORD_MASK
                    if name == "latency_ns":
                        words[_LATENCY_WORDS[LATENCY.bucket(n)]] += 1
            return not self._closed

    def add_sums(self, sums: Iterable[tuple[str, int]]) -> bool:
        """Adds to counters of LANE_COUNTERS; KeyError for any other name. False, and nothing added, once closed.

        What was summed elsewhere has its buckets of the histogram with it (see `spread`).
        """
        words = self._words
        with self._lock:
            if not self._closed:
                for name, n in sums:
                    word = _LANE_WORD[name]
                    words[word] = (words[word] + n) & _WORD_MASK
            return not self._closed

    def add_answered(self, latency_ns: int) -> bool:
        """`add_all` of what a request moves that was answered."""
        words = self._words
        with self._lock:
            if not self._closed:
                words[_REQUESTS] = (words[_REQUESTS] + 1) & _WORD_MASK
                words[_SUCCEEDED] = (words[_SUCCEEDED] + 1) & _WORD_MASK
                words[_LATENCY] = (words[_LATENCY] + latency_ns) & _WORD_MASK
                words[_LATENCY_WORDS[LATENCY.bucket(latency_ns)]] += 1
            return not self._closed

    def close(self) -> None:
        """Nothing is added any more."""
        with self._lock:
            self._closed = True

    def let_go_in_child(self) -> None:
        """In a forked child: whoever held the lock does not exist here."""
        self._lock = threading.Lock()
        self._closed = True


def spread(counts: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """`counts`, with the bucket of the histogram for each `latency_ns`: a sum of them would fall into a wrong one."""
    for name, n in counts:
        yield name, n
        if name == "latency_ns":
            yield LATENCY.buckets[LATENCY.bucket(n)], 1


class InstanceBoard:
    """The counters of one instance, for the one thread of it that works."""

    def __init__(self, segment: Segment, name: int) -> None:
        """Raises InternalError if no row carries `name`."""
        each = map(segment.instance_row, range(segment.geometry.instance_rows))
        found = next((row for row in each if row[InstanceWord.NAME] == name), None)
        if found is None:
            raise InternalError(f"no instance of this segment is called {name}")
        self._words = found
        self.seat, self.device = int(found[InstanceWord.SEAT]), int(found[InstanceWord.DEVICE])
        self._place = found[InstanceWord.DEVICE] or ON_CPU  # where it computes, as its row says
        start, count = segment.geometry.instance_row_at(0), segment.geometry.instance_rows
        area = segment.array[start : start + WORD_BYTES * InstanceWord.WORDS * count]
        rows = area.view(np.uint64)
        self._idle: NDArray[np.uint64] = rows[InstanceWord.IDLE :: InstanceWord.WORDS]  # of everybody
        self._names: NDArray[np.uint64] = rows[InstanceWord.NAME :: InstanceWord.WORDS]

    def rest(self) -> None:
        """It has nothing to do."""
        self._words[InstanceWord.IDLE] = self._place

    def work(self) -> None:
        """It has something to do. Whoever takes says so under the lease, so that the next one who does sees it."""
        self._words[InstanceWord.IDLE] = 0

    def idle_beside(self) -> int:
        """How many others have nothing to do and would not be in this one's way: of a GPU itself that is one.

        A hint: one that has just died, or that is stopped, counts as well.
        """
        idle = self._idle[self._idle.nonzero()[0]].tolist()
        if self._place == ON_CPU:
            itself = int(self._words[InstanceWord.IDLE] != 0)  # awake, and has taken nothing yet
            return int(idle.count(ON_CPU)) - itself
        return len({*idle} - {self._place})

    def count(self) -> int:
        """How many instances there are, this one among them."""
        return max(1, int(np.count_nonzero(self._names)))

    def add(self, name: str, n: int = 1) -> None:
        """Adds to a counter of INSTANCE_COUNTERS; KeyError for any other name."""
        self.add_all(((name, n),))

    def add_all(self, counts: Sequence[tuple[str, int]]) -> None:
        """`add` for several."""
        words = self._words
        for name, n in counts:
            word = _INSTANCE_WORD[name]
            words[word] = (words[word] + n) & _WORD_MASK


def lane_totals(segment: Segment) -> dict[str, int]:
    """Every counter of LANE_COUNTERS, summed over all lanes, whoever owned them."""
    totals = np.zeros(len(LANE_COUNTERS), dtype=np.uint64)
    for lane in range(segment.geometry.lanes):
        row = segment.lane_row(lane)
        totals += np.array(row[LaneWord.COUNTERS : LaneWord.COUNTERS + len(LANE_COUNTERS)], dtype=np.uint64)
    return dict(zip(LANE_COUNTERS, totals.tolist(), strict=True))


def instance_rows(segment: Segment) -> list[dict[str, int]]:
    """`name`, `pid`, `start_ticks`, `go` and every counter of INSTANCE_COUNTERS of each instance that has a row."""
    found = []
    for k in range(segment.geometry.instance_rows):
        row = segment.instance_row(k)
        if name := row[InstanceWord.NAME]:
            counters = {counter: row[word] for counter, word in _INSTANCE_WORD.items()}
            identity = {"pid": row[InstanceWord.PID], "start_ticks": row[InstanceWord.START_TICKS]}
            found.append({"name": name, **identity, "go": row[InstanceWord.GO], **counters})
    return found


def instance_counts(segment: Segment) -> tuple[list[dict[str, int]], dict[str, int]]:
    """The rows of the instances there are, and what those that are gone have counted; each count in one of the two.

    The supervisor moves the counts of the dead from the one to the other. Partner of these loads: `Steward.clear_row`.
    """
    header = segment.header
    for _ in range(_LOOKS):
        folding, folds = header[Header.FOLDING], header[Header.FOLDS]
        rows = [row for row in instance_rows(segment) if row["name"] != folding]
        at = Header.FOLD_TARGET if folding else Header.FOLDED
        gone = {name: header[at + k] for k, name in enumerate(INSTANCE_COUNTERS)}
        if (header[Header.FOLDING], header[Header.FOLDS]) == (folding, folds):
            break
    return rows, gone


def instance_totals(segment: Segment) -> dict[str, int]:
    """Every counter of INSTANCE_COUNTERS, summed over the instances there are and those that are gone."""
    rows, gone = instance_counts(segment)
    return {name: gone[name] + sum(row[name] for row in rows) for name in INSTANCE_COUNTERS}


def part_of(segment: Segment) -> tuple[Part, list[dict[str, int]]]:
    """What this version carries and has counted itself, and the rows of the instances that are in it."""
    carried = segment.header[Header.CARRIED : Header.CARRIED + COUNTED].tolist()
    rows, gone = instance_counts(segment)
    instances = [gone[name] + sum(row[name] for row in rows) for name in INSTANCE_COUNTERS]
    return Part(carried, [*lane_totals(segment).values(), *instances]), rows


def named(figures: Sequence[int]) -> tuple[dict[str, int], dict[str, int]]:
    """The figures of a Part by name: lane counters, instance counters."""
    lanes = len(LANE_COUNTERS)
    return dict(zip(LANE_COUNTERS, figures[:lanes])), dict(zip(INSTANCE_COUNTERS, figures[lanes:]))


def queue_length(segment: Segment) -> int:
    """Requests that wait for an instance: READY slots of all lanes, and those that wait in a frontend for a slot."""
    start = segment.geometry.table_at("word")
    states = segment.array[start : start + WORD_BYTES * segment.geometry.slot_count : WORD_BYTES]
    waiting = sum(segment.lane_row(lane)[LaneWord.WAITING] for lane in range(segment.geometry.lanes))
    return int(np.count_nonzero(states == READY)) + waiting
