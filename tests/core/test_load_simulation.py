"""No rule of batches is worse than to take what is there, whatever the load: simulated, the same requests for both."""

from __future__ import annotations

import statistics

import pytest

from engine.clock import NS_PER_S
from tests.core.load_simulation import MAX_BATCH, Outcome, Simulation, callers, poisson
from tests.core.model_costs import CLIFF_AT_6, CONSTANT, LINEAR, MIXED, Cost

SMALL = Cost(0.2, 0.05)
NEARLY_LINEAR = Cost(6.0, 20.0)
COSTS = [CONSTANT, LINEAR, NEARLY_LINEAR, MIXED, CLIFF_AT_6, SMALL]
NAMES = ["constant", "linear", "nearly_linear", "mixed", "cliff", "small"]
NO_WORSE = 1.02


def both(cost: Cost, instances: int, seed: int, *, load: float, burst: int, requests: int) -> tuple[Outcome, Outcome]:
    """What is there, and by the rules; `load`: of what all instances can do."""
    capacity = instances * NS_PER_S * max(size / cost.ns(size) for size in range(1, MAX_BATCH + 1))
    outcomes = []
    for plain in (True, False):
        simulation = Simulation(cost, instances, plain=plain, seed=seed, limit_s=1.0)
        poisson(simulation, load * capacity, round(requests / (load * capacity) * NS_PER_S), burst=burst)
        outcomes.append(simulation.run(1 << 62))
    assert len(outcomes[0].latencies_ns) == len(outcomes[1].latencies_ns), "each is answered once"
    return outcomes[0], outcomes[1]


@pytest.mark.parametrize("burst", [1, 12], ids=["steady", "bursts"])
@pytest.mark.parametrize(("instances", "requests", "seeds"), [(1, 250, 3), (2, 250, 3), (64, 2500, 1)])
@pytest.mark.parametrize("cost", COSTS, ids=NAMES)
def test_strangers_are_answered_no_later_and_no_fewer_in_time(
    cost: Cost, instances: int, requests: int, seeds: int, burst: int
) -> None:
    for load in (0.3, 0.8, 1.5):
        runs = [both(cost, instances, seed, load=load, burst=burst, requests=requests) for seed in range(seeds)]
        later = statistics.fmean(ours.mean_ms / plain.mean_ms for plain, ours in runs)
        fewer = statistics.fmean(plain.in_time / ours.in_time for plain, ours in runs)
        assert max(later, fewer) <= NO_WORSE, (load, later, fewer)


def returning(cost: Cost, instances: int, count: int, *, plain: bool, longest_ms: int = 100) -> Outcome:
    """Callers who ask again when they are answered, for the time of sixty full batches."""
    simulation = Simulation(cost, instances, plain=plain, seed=count, longest_ms=longest_ms)
    callers(simulation, count, think_ms=0.5)
    return simulation.run(60 * cost.ns(MAX_BATCH))


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("cost", COSTS, ids=NAMES)
def test_callers_who_return_are_answered_no_later(cost: Cost, instances: int) -> None:
    for count in (1, 2, 4, 7, 8, 9, 16, 24, 40):
        plain, ours = (returning(cost, instances, count, plain=which) for which in (True, False))
        assert ours.mean_ms <= NO_WORSE * plain.mean_ms, count


def test_those_who_ask_together_are_waited_for_where_a_batch_costs_something_by_itself() -> None:
    """Else it computes one of them and all the others in turn."""
    plain, ours = (returning(CONSTANT, 1, MAX_BATCH, plain=which) for which in (True, False))
    assert ours.mean_ms < 0.6 * plain.mean_ms and ours.mean_size > 1.6 * plain.mean_size


@pytest.mark.parametrize("cost", [LINEAR, SMALL], ids=["linear", "small"])
def test_nobody_is_waited_for_where_that_cannot_pay(cost: Cost) -> None:
    simulation = Simulation(cost, 1, plain=False, seed=0)
    callers(simulation, MAX_BATCH, think_ms=0.5)
    simulation.run(60 * cost.ns(MAX_BATCH))
    assert simulation.instances[0].waits == 0


@pytest.mark.parametrize("longest_ms", [0, 100, 60_000])
@pytest.mark.parametrize("cost", COSTS, ids=NAMES)
def test_a_lone_caller_is_never_made_to_wait(cost: Cost, longest_ms: int) -> None:
    simulation = Simulation(cost, 1, plain=False, seed=0, longest_ms=longest_ms)
    callers(simulation, MAX_BATCH, think_ms=0.5)
    simulation.run(20 * cost.ns(MAX_BATCH))
    for each in range(5):  # after those have learnt it to wait
        simulation.at(simulation.now_ns + NS_PER_S, lambda: simulation.arrive(1))
    simulation.events = [event for event in simulation.events if event[0] >= simulation.now_ns + NS_PER_S]
    simulation.queue.clear()
    waits = simulation.instances[0].waits
    simulation.run(1 << 62)
    assert simulation.instances[0].waits == waits


def test_no_wait_is_longer_than_the_settings_allow() -> None:
    assert returning(CONSTANT, 1, MAX_BATCH, plain=False, longest_ms=0).sizes == returning(
        CONSTANT, 1, MAX_BATCH, plain=True
    ).sizes


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize(("cost", "full"), [(CONSTANT, 8), (LINEAR, 8), (MIXED, 8), (CLIFF_AT_6, 6), (SMALL, 8)])
def test_at_saturation_batches_are_full(cost: Cost, full: int, instances: int) -> None:
    _, ours = both(cost, instances, 1, load=3.0, burst=1, requests=1000)
    assert ours.mean_size >= 0.9 * full
