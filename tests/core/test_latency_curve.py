"""The curve is near the truth, whatever disturbs single runs."""

from __future__ import annotations

import random

import pytest

from engine.core.latency_curve import LatencyCurve, Measured
from tests.core.model_costs import CONSTANT, LINEAR, MIXED, Cost

SEEDS = range(40)


def learnt(cost: Cost, seed: int, *, most: int = 8, runs: int = 20) -> LatencyCurve:
    curve, rng = LatencyCurve(most), random.Random(seed)
    for _ in range(runs):
        for size in curve.sizes:
            disturbed = 6.0 if rng.random() < 0.05 else 1.0
            curve.add(size, round(cost.ns(size) * rng.lognormvariate(0, 0.1) * disturbed))
    return curve


@pytest.mark.parametrize("cost", [CONSTANT, LINEAR, MIXED])
@pytest.mark.parametrize("most", [1, 8, 100])
def test_noise_and_single_disturbances_leave_the_shape(cost: Cost, most: int) -> None:
    for seed in SEEDS:
        curve = learnt(cost, seed, most=most)
        for size in curve.sizes:
            assert 0.6 < (curve.ns(size) or 0) / cost.ns(size) < 1.6, (seed, size)


def test_the_first_run_of_a_size_is_no_measure() -> None:
    curve = LatencyCurve(8)
    curve.add(4, 10**9)
    assert curve.ns(4) is None and not curve.knows(4)
    curve.add(4, 1000)
    assert curve.ns(4) == 1000


def test_between_two_sizes_lies_what_lies_between_and_beyond_each_item_costs_the_same() -> None:
    curve = LatencyCurve(8)
    for size, ns in ((2, 2000), (4, 3000)):
        curve.meet(size)
        curve.add(size, ns)
    assert [curve.ns(size) for size in (1, 2, 3, 4, 8)] == [2000, 2000, 2500, 3000, 6000]


def test_a_machine_that_becomes_slower_does_not_change_which_size_is_better() -> None:
    """Only eights run while it is slow; what a four takes is expected to have grown alike."""
    for seed in SEEDS:
        curve, rng = learnt(MIXED, seed), random.Random(seed)
        before = (curve.ns(8) or 0) / (curve.ns(4) or 1)
        for _ in range(100):
            curve.add(8, round(2 * MIXED.ns(8) * rng.lognormvariate(0, 0.1)))
        assert 1.6 < (curve.ns(8) or 0) / MIXED.ns(8) < 2.5
        assert (curve.ns(8) or 0) / (curve.ns(4) or 1) < 1.35 * before, seed


def test_memory_does_not_grow_with_the_largest_size() -> None:
    for most in range(1, 1025):
        sizes = LatencyCurve(most).sizes
        assert sizes[-1] == most and len(sizes) <= 64 and sizes == sorted(set(sizes))
    assert all(after - before <= before / 8 for before, after in zip(sizes[16:], sizes[17:]))


def test_what_was_measured_is_known_to_the_next_process() -> None:
    before, after = learnt(MIXED, 1), LatencyCurve(4)
    after.remember(before.measured() | {-1: Measured(5.0, 3), 3: Measured(0.0, 3)})
    assert after.measured().keys() == {1, 2, 4}
    assert after.ns(4) == pytest.approx(before.ns(4))


def test_one_whose_first_runs_were_all_disturbed_is_soon_known_better() -> None:
    curve = LatencyCurve(8)
    for took_ms in [10.0] * 5 + [2.0] * 4:
        curve.add(8, round(took_ms * 10**6))
    assert (curve.ns(8) or 0) < 3 * 10**6
