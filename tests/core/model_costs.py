"""Models as a chooser of batch sizes meets them: how long a batch takes, and how many items fit into memory."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.clock import NS_PER_MS
from engine.core.batch_size import BatchSize


class Cost(NamedTuple):
    """Milliseconds of a batch: `fixed`, and `each` for every item; `cliff` times as much for more than `good`."""

    fixed: float
    each: float
    good: int = 1024
    cliff: float = 1.0

    def ns(self, size: int) -> int:
        return round((self.fixed + self.each * size) * (self.cliff if size > self.good else 1.0) * NS_PER_MS)


CONSTANT = Cost(20.0, 0.0)
LINEAR = Cost(0.0, 20.0)
MIXED = Cost(10.0, 5.0)
CLIFF_AT_6 = Cost(4.0, 10.0, good=6, cliff=2.0)


@dataclass
class FakeModel:
    """Computes what is asked of it, like a processor: what does not fit is split, and the chooser told."""

    cost: Cost
    rng: random.Random
    room: int = 1024  # items that fit into memory
    noise: float = 0.15  # standard deviation, as a share; one batch in 25 is disturbed and takes five times as long
    pace: float = 1.0
    now_ns: int = 0
    sizes: list[int] = field(default_factory=list)  # of what was tried, in order
    met: set[int] = field(default_factory=set)

    def run(self, chooser: BatchSize, size: int) -> None:
        self.sizes.append(size)
        if size > self.room:
            chooser.sink(size, self.now_ns)
            self.run(chooser, size // 2)
            self.run(chooser, size - size // 2)
            return
        took_ns = self.took_ns(size)
        self.now_ns += took_ns
        chooser.add(size, took_ns)

    def took_ns(self, size: int) -> int:
        disturbed = 5.0 if self.rng.random() < 0.04 else 1.0
        first = 1.0 if size in self.met else 3.0
        self.met.add(size)
        return round(self.cost.ns(size) * self.pace * self.rng.lognormvariate(0.0, self.noise) * disturbed * first)

    def saturate(self, chooser: BatchSize, batches: int) -> None:
        """So many batches while more is ready than any takes."""
        for _ in range(batches):
            self.run(chooser, chooser.look(self.now_ns))

    def warm(self, chooser: BatchSize, sizes: tuple[int, ...] = (8, 4, 2, 1), runs: int = 5) -> None:
        """Every size so many times, as an instance does that has time."""
        for size in sizes:
            for _ in range(runs):
                if size <= chooser.look(self.now_ns):
                    self.run(chooser, size)
