"""How many items a batch is to have: as many as pay, as fit into memory, and as keep the tightest deadline.

The larger the better, as long as an item of a larger batch costs little more than one of the best size. Past a *cliff*
it costs more: caches overflow, another algorithm is chosen. Sizes that nobody has measured are tried, between the last
good one and the first bad one in the middle: so a cliff is found in a few batches. Nothing of this holds a batch back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from engine.core.ceiling import BatchCeiling, CeilingRecord
from engine.core.latency_curve import LatencyCurve, Measured

FALLS_OFF = 0.75  # of the best throughput: below it a size lies beyond a cliff; nearer to 1.0 noise would choose
SURE = 8  # measures of a size that looks bad, before it is taken for bad: bad luck must not cost the larger batches
LOOK_AGAIN_AFTER = 2048  # full batches, until the first size beyond a cliff is measured anew: SURE batches in as many
REVIEW_EVERY = 16  # full batches of sizes that are known: thinking it over takes as long as a small model does
HAND_OVER_NS = 100_000  # of a batch beside its computation: look, lease, replies, wake-ups (`benchmarks/README.md`)
SHARES_WASTE = 0.25  # of the work of one batch, that its parts may cost more together while nobody else has work
SHARES_GAIN_NS = 2_000_000  # that sharing must save: less is lost again where another process wants the core


class BatchRecord(NamedTuple):
    """What one process has learnt of batch sizes, for the next one."""

    ceiling: CeilingRecord = CeilingRecord()
    measured: Mapping[int, Measured] = MappingProxyType({})  # by size


class BatchSize:
    """Of one instance. `aim` changes with `look`, `add` and `sink` alone. Equation: 1 <= aim <= ceiling.limit."""

    def __init__(self, most: int, record: BatchRecord = BatchRecord()) -> None:
        self.curve = LatencyCurve(most)
        self.curve.remember(record.measured)
        self.ceiling = BatchCeiling(most, record.ceiling)
        self.aim = self.ceiling.limit  # items of the next batch, if there are as many
        self.is_limited = False  # by memory: then `look` has to be asked for `aim`
        self.shares = False  # whether idle instances would share a batch of that size
        self._full = 0  # batches of at least that size, since sizes beyond a cliff were forgotten
        self._aim_anew()

    @property
    def record(self) -> BatchRecord:
        """For the next process."""
        return BatchRecord(self.ceiling.record, self.curve.measured())

    def look(self, now_ns: int) -> int:
        """Most items that the next batch may have."""
        if self.is_limited:
            before = self.ceiling.limit
            if self.ceiling.look(now_ns) != before:
                self._aim_anew()
        return self.aim

    def add(self, size: int, took_ns: int) -> None:
        """A batch of `size` items was computed in one piece."""
        news = self.curve.add(size, took_ns) <= SURE
        if self.is_limited:
            before = self.ceiling.limit
            self.ceiling.fit(size)
            news = news or self.ceiling.limit != before
        if size >= self.aim:
            self._full += 1
            news = news or self._full % REVIEW_EVERY == 0
            if self._full >= LOOK_AGAIN_AFTER:
                self._full = 0
                self._forget_the_cliff()
        if news:
            self._aim_anew()

    def sink(self, size: int, now_ns: int) -> None:
        """A batch of `size` items, at least 2, did not fit into memory."""
        self.ceiling.sink(size, now_ns)
        self._aim_anew()

    def _forget_the_cliff(self) -> None:
        beyond = [size for size in self._sizes() if size > self.aim and self.curve.knows(size)]
        if beyond:
            self.curve.forget(beyond[0])

    def _aim_anew(self) -> None:
        self.aim = self._next_size()
        self.is_limited = self.ceiling.is_open
        self.shares = self.share(self.aim, 2, 2) < self.aim

    def _next_size(self) -> int:
        limit = self.ceiling.limit
        unknown = next((size for size in _halves(limit) if not self.curve.knows(size)), None)
        if unknown is not None:
            return unknown
        sizes = self._sizes()
        item_ns = [self._item_ns(size) if self.curve.knows(size) else 0.0 for size in sizes]
        bound_ns = min(ns for ns in item_ns if ns) / FALLS_OFF
        good = max(k for k, ns in enumerate(item_ns) if 0.0 < ns <= bound_ns)
        if good == len(sizes) - 1:
            return limit
        bad = next(k for k in range(good + 1, len(sizes)) if item_ns[k])
        if bad > good + 1:
            return sizes[(good + bad) // 2]
        return sizes[bad] if self.curve.measures(sizes[bad]) < SURE else sizes[good]

    def _sizes(self) -> list[int]:
        limit = self.ceiling.limit
        return [size for size in self.curve.sizes if size < limit] + [limit]

    def _item_ns(self, size: int) -> float:
        return self._cost_ns(size) / size

    def batch_ns(self, size: int) -> float:
        """What a batch of `size` takes; 0.0: nobody knows."""
        return self.curve.ns(size) or 0.0

    def _cost_ns(self, size: int) -> float:
        return self.batch_ns(size) + HAND_OVER_NS

    # --- one batch --------------------------------------------------------------------------------------------------

    def share(self, ready: int, idle: int, count: int) -> int:
        """Most items that one of `idle` instances takes, of `count`, itself among both, so that the others get theirs.

        Where an item costs the same in every batch, several instances are done sooner together. Where a batch costs
        something by itself, one instance takes all: parts would keep processors from others. That counts the more, the
        fewer are idle.
        """
        sharers = min(idle, ready)
        if sharers < 2 or self.curve.ns(1) is None:
            return self.aim
        whole = min(ready, self.aim)
        most_ns = self._work_ns(ready, whole) * (1 + SHARES_WASTE * idle / count)
        while sharers > 1:
            part = -(-ready // sharers)
            gains = part < whole and self._cost_ns(part) + SHARES_GAIN_NS <= self._cost_ns(whole)
            if gains and self._work_ns(ready, part) <= most_ns:
                return part
            sharers //= 2
        return self.aim

    def _work_ns(self, items: int, part: int) -> float:
        """Of as many batches of `part` as it takes."""
        parts, rest = divmod(items, part)
        return parts * self._cost_ns(part) + (self._cost_ns(rest) if rest else 0.0)

    def in_time(self, deadlines_ns: Sequence[int], now_ns: int) -> list[int]:
        """The positions of those to compute together, of a batch in the order of its urgency.

        All, unless the tightest deadline would pass meanwhile: then as many as keep it, and the one whose it is among
        them. A deadline that no batch can keep binds nobody.
        """
        everybody = list(range(len(deadlines_ns)))
        alone_ns, all_ns = self.curve.ns(1), self.curve.ns(len(deadlines_ns))
        if alone_ns is None or all_ns is None or now_ns + all_ns <= min(deadlines_ns):
            return everybody
        kept = [k for k in everybody if deadlines_ns[k] >= now_ns + alone_ns]
        if not kept:
            return everybody
        tightest = min(kept, key=deadlines_ns.__getitem__)
        spare_ns = deadlines_ns[tightest] - now_ns
        size = next(n for n in range(len(everybody), 0, -1) if self.batch_ns(n) <= spare_ns or n == 1)
        return everybody[:size] if tightest < size else [tightest, *everybody[: size - 1]]


def _halves(size: int) -> list[int]:
    """`size`, and the half of each before it, down to 1."""
    return [size >> power for power in range(size.bit_length())]
