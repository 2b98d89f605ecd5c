"""The learnt size is right within fifty batches, for models of every shape and hundreds of disturbed runs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import NS_PER_MS
from engine.core.batch_size import LOOK_AGAIN_AFTER, SURE, BatchSize
from tests.core.model_costs import CLIFF_AT_6, CONSTANT, LINEAR, MIXED, Cost, FakeModel

SEEDS = range(100)


@pytest.mark.parametrize("warm_runs", [0, 1, 5])
@pytest.mark.parametrize(("cost", "room", "right"), [
    (CLIFF_AT_6, 1024, 6), (CONSTANT, 5, 5), (LINEAR, 5, 5), (CONSTANT, 1024, 8), (LINEAR, 1024, 8), (MIXED, 1024, 8),
    (CLIFF_AT_6, 5, 5),
])
def test_the_size_is_right_within_fifty_batches(cost: Cost, room: int, right: int, warm_runs: int) -> None:
    wrong = 0
    for seed in SEEDS:
        chooser, model = BatchSize(8), FakeModel(cost, random.Random(seed), room)
        model.warm(chooser, runs=warm_runs)
        model.sizes.clear()
        model.saturate(chooser, 50)
        wrong += chooser.aim != right
        assert sum(size > room for size in model.sizes) <= 4, seed
    assert wrong <= len(SEEDS) // 20, "one in twenty at most, by an unlucky draw of noise"


def test_a_ceiling_that_appears_later_is_found_too() -> None:
    for seed in SEEDS:
        chooser, model = BatchSize(8), FakeModel(MIXED, random.Random(seed))
        model.saturate(chooser, 100)
        model.room = 5
        model.saturate(chooser, 50)
        assert chooser.aim == 5, seed


def test_a_cliff_is_measured_anew_now_and_then_and_what_has_changed_is_found() -> None:
    for seed in SEEDS[:3]:
        chooser, model = BatchSize(8), FakeModel(CLIFF_AT_6, random.Random(seed))
        model.saturate(chooser, 100)
        model.sizes.clear()
        model.saturate(chooser, 2 * LOOK_AGAIN_AFTER)
        assert sum(size > 6 for size in model.sizes) <= 3 * SURE
        model.cost = LINEAR
        model.saturate(chooser, 3 * LOOK_AGAIN_AFTER)
        assert chooser.aim == 8


def test_batches_that_are_never_full_learn_nothing_wrong() -> None:
    for seed in SEEDS:
        rng = random.Random(seed)
        chooser, model = BatchSize(8), FakeModel(MIXED, rng)
        for _ in range(300):
            model.run(chooser, rng.randint(1, 5))
        assert chooser.aim == 8, "nobody has seen a full one"


@given(most=st.integers(1, 300), seed=st.integers(0, 1000), good=st.integers(1, 300))
def test_the_size_stays_between_one_and_what_was_asked_for(most: int, seed: int, good: int) -> None:
    chooser, model = BatchSize(most), FakeModel(Cost(1.0, 1.0, good, 3.0), random.Random(seed), room=200)
    for _ in range(60):
        size = chooser.look(model.now_ns)
        assert 1 <= size <= min(most, chooser.ceiling.limit)
        model.run(chooser, size)


# --- sharing --------------------------------------------------------------------------------------------------------


def known(cost: Cost, most: int = 8) -> BatchSize:
    chooser, model = BatchSize(most), FakeModel(cost, random.Random(0), noise=0.0)
    model.warm(chooser)
    return chooser


@pytest.mark.parametrize(("ready", "idle", "share"), [
    (1, 2, 8), (2, 1, 8), (2, 2, 1), (3, 2, 2), (8, 2, 4), (10, 2, 5), (16, 2, 8), (40, 2, 8), (8, 64, 1), (6, 3, 2),
])
def test_where_an_item_costs_the_same_anywhere_idle_instances_share(ready: int, idle: int, share: int) -> None:
    assert min(ready, known(LINEAR).share(ready, idle, idle)) == min(ready, share)


@pytest.mark.parametrize("cost", [CONSTANT, Cost(0.2, 0.05)])
@pytest.mark.parametrize("ready", [2, 3, 8, 16, 64])
@pytest.mark.parametrize("idle", [1, 2, 64])
def test_where_a_batch_costs_something_by_itself_one_takes_all(cost: Cost, ready: int, idle: int) -> None:
    assert known(cost).share(ready, idle, idle) == 8


def test_two_batches_there_are_anyway_are_made_alike() -> None:
    assert known(Cost(20.0, 5.0)).share(10, 2, 2) == 5


def test_parts_that_cost_more_are_taken_only_while_most_have_nothing_to_do() -> None:
    nearly = known(Cost(6.0, 20.0))
    assert [nearly.share(2, 2, count) for count in (2, 4, 64)] == [1, 8, 8]


def test_nothing_is_shared_before_anything_is_known() -> None:
    assert BatchSize(8).share(4, 2, 2) == 8


# --- deadlines ------------------------------------------------------------------------------------------------------


def in_time(chooser: BatchSize, spare_ms: list[float]) -> list[int]:
    return chooser.in_time([int(ms * NS_PER_MS) for ms in spare_ms], 0)


def test_the_largest_batch_that_keeps_the_tightest_deadline_wins() -> None:
    chooser = known(LINEAR)
    assert in_time(chooser, [1000.0] * 8) == list(range(8))
    assert in_time(chooser, [85.0] + [1000.0] * 7) == [0, 1, 2, 3]
    assert in_time(chooser, [1000.0] * 7 + [65.0]) == [7, 0, 1]
    assert in_time(chooser, [1000.0, 25.0, 65.0]) == [1]


def test_a_deadline_that_cannot_be_kept_binds_nobody() -> None:
    chooser = known(LINEAR)
    assert in_time(chooser, [5.0] * 8) == list(range(8))
    assert in_time(chooser, [5.0] + [1000.0] * 7) == list(range(8))
    assert in_time(chooser, [5.0, 45.0, 1000.0]) == [0, 1]


def test_a_constant_cost_never_makes_a_batch_smaller() -> None:
    assert in_time(known(CONSTANT), [21.0] * 8) == list(range(8))


def test_without_knowledge_all_are_taken() -> None:
    assert in_time(BatchSize(8), [1.0] * 8) == list(range(8))


# --- restarts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cost", "room", "right"), [(CLIFF_AT_6, 1024, 6), (MIXED, 5, 5), (MIXED, 1024, 8)])
def test_the_size_is_kept_across_restarts(cost: Cost, room: int, right: int) -> None:
    for seed in SEEDS[:20]:
        first, model = BatchSize(8), FakeModel(cost, random.Random(seed), room)
        model.saturate(first, 100)
        second = BatchSize(8, first.record)
        assert first.aim == second.aim == right
        model.sizes.clear()
        model.saturate(second, 50)
        assert second.aim == right and max(model.sizes) <= room
