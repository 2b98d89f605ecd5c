"""Instances under load, event by event: one queue, instances that sleep, wake, wait, share and compute.

The decisions are those of `engine.core`, as `engine.instance.intake` asks for them; everything between them is as fast
as in the real thing or a little slower. Times are nanoseconds.
"""

from __future__ import annotations

import functools
import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from engine.clock import NS_PER_MS, NS_PER_S
from engine.core.batch_size import BatchRecord, BatchSize
from engine.core.company import Company
from tests.core.model_costs import Cost

MAX_BATCH = 8
WAKE_NS = 60_000


@dataclass
class Outcome:
    """What a load came to."""

    latencies_ns: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # of the batches
    in_time: int = 0

    @property
    def mean_ms(self) -> float:
        return sum(self.latencies_ns) / max(1, len(self.latencies_ns)) / NS_PER_MS

    @property
    def mean_size(self) -> float:
        return sum(self.sizes) / max(1, len(self.sizes))


@functools.lru_cache(maxsize=None)
def learnt(cost: Cost) -> BatchRecord:
    """What earlier instances have."""
    size = BatchSize(MAX_BATCH)
    for items in range(MAX_BATCH, 0, -1):
        for _ in range(20):
            size.add(items, cost.ns(items))
    return size.record


class Instance:
    """One, with what it has learnt before."""

    def __init__(self, cost: Cost, longest_ns: int) -> None:
        self.size = BatchSize(MAX_BATCH, learnt(cost))
        self.company = Company(self.size, longest_ns)
        self.idle = True
        self.wanted = 0  # it waits for so many
        self.waits = 0  # how often it has waited: an end of an earlier wait means nothing
        self.came = 0


class Simulation:
    """`plain`: every instance takes what is there. Requests are (arrival, deadline, whom to tell)."""

    def __init__(
        self, cost: Cost, instances: int, *, plain: bool, seed: int, longest_ms: int = 100, limit_s: float = 1e9
    ) -> None:
        self.cost, self.plain, self.limit_ns = cost, plain, int(limit_s * NS_PER_S)
        self.rng = random.Random(seed)
        self.instances = [Instance(cost, longest_ms * NS_PER_MS) for _ in range(instances)]
        self.queue: list[tuple[int, Callable[[], None] | None]] = []
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.now_ns = 0
        self.numbers = 0
        self.outcome = Outcome()

    def at(self, moment_ns: int, action: Callable[[], None]) -> None:
        self.numbers += 1
        heapq.heappush(self.events, (moment_ns, self.numbers, action))

    def run(self, until_ns: int) -> Outcome:
        while self.events and self.events[0][0] <= until_ns:
            self.now_ns, _, action = heapq.heappop(self.events)
            action()
        return self.outcome

    # --- requests ---------------------------------------------------------------------------------------------------

    def arrive(self, count: int, told: Callable[[], None] | None = None) -> None:
        """So many at once; `told` when each is answered."""
        self.queue += [(self.now_ns, told)] * count
        for each in self.instances:
            if each.wanted and len(self.queue) >= each.wanted:
                self.end_wait(each, each.waits)
        self.ring()

    def ring(self) -> None:
        sleeping = next((each for each in self.instances if each.idle and not each.wanted), None)
        if sleeping is not None and self.queue:
            self.at(self.now_ns + WAKE_NS, lambda: self.look(sleeping))

    # --- instances --------------------------------------------------------------------------------------------------

    def look(self, it: Instance) -> None:
        if not (it.idle and not it.wanted):
            return
        ready, company = len(self.queue), it.company
        if company.since_ns:
            until_ns = company.since_ns + company.window_ns
            company.came(it.came + sum(company.since_ns < arrival <= until_ns for arrival, _ in self.queue))
            it.came = 0
        if not ready:
            return
        if not self.plain and company.answered > 1:
            wanted = company.wanted(ready, self.now_ns)
            if wanted and not self.others_idle(it):
                it.wanted = wanted
                it.waits += 1
                it.came = -ready
                number = it.waits
                self.at(self.now_ns + company.window_ns, lambda: self.end_wait(it, number))
                return
        self.take(it)

    def others_idle(self, it: Instance) -> int:
        return sum(each.idle and each is not it for each in self.instances)

    def end_wait(self, it: Instance, number: int) -> None:
        if it.wanted and it.waits == number:
            it.wanted = 0
            it.came = max(0, it.came + len(self.queue))
            if self.queue:
                self.take(it)

    def take(self, it: Instance) -> None:
        most = MAX_BATCH if self.plain else it.size.look(self.now_ns)
        if not self.plain and len(self.queue) > 1 and it.size.shares:
            most = it.size.share(len(self.queue), 1 + self.others_idle(it), len(self.instances))
        batch, self.queue = self.queue[:most], self.queue[most:]
        it.idle = False
        took_ns = self.cost.ns(len(batch))
        self.at(self.now_ns + took_ns, lambda: self.finish(it, batch, took_ns))
        self.ring()

    def finish(self, it: Instance, batch: list[tuple[int, Callable[[], None] | None]], took_ns: int) -> None:
        it.idle = True
        it.size.add(len(batch), took_ns)
        it.company.answered, it.company.answered_ns = len(batch), self.now_ns
        self.outcome.sizes.append(len(batch))
        for arrival_ns, told in batch:
            self.outcome.latencies_ns.append(self.now_ns - arrival_ns)
            self.outcome.in_time += self.now_ns - arrival_ns <= self.limit_ns
            if told is not None:
                told()
        self.look(it)


# --- loads ----------------------------------------------------------------------------------------------------------


def poisson(simulation: Simulation, per_s: float, until_ns: int, *, burst: int = 1) -> None:
    """Requests of many callers who know nothing of each other; `burst`: recordings of up to so many windows."""
    for moment_ns in _moments(simulation.rng, per_s * 2 / (burst + 1), until_ns):
        count = simulation.rng.randint(1, burst)
        simulation.at(moment_ns, lambda count=count: simulation.arrive(count))  # type: ignore[misc]


def callers(simulation: Simulation, count: int, *, think_ms: float) -> None:
    """So many who ask again when they have their answer, after a moment of their own."""

    def ask() -> None:
        pause_ns = round(simulation.rng.uniform(0.5, 1.5) * think_ms * NS_PER_MS)
        simulation.at(simulation.now_ns + pause_ns, lambda: simulation.arrive(1, ask))

    for _ in range(count):
        ask()


def _moments(rng: random.Random, per_s: float, until_ns: int) -> Iterator[int]:
    moment_ns = 0.0
    while (moment_ns := moment_ns + rng.expovariate(per_s) * NS_PER_S) < until_ns:
        yield round(moment_ns)
