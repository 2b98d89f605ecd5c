"""Admission and the waiting line: pure decisions, many cheap cases."""

from __future__ import annotations

import random
from operator import itemgetter
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.admission import RETRY_AFTER_MAX_S, RETRY_AFTER_MIN_S, WaitingLine, admit, level_of, slot_window
from engine.core.batching import BatchPolicy, Candidate, choose

T = TypeVar("T")


@given(st.integers(0, 5000), st.integers(1, 5000), st.floats(0, 1e6))
def test_admitted_exactly_below_the_bound(waiting: int, bound: int, drain_per_s: float) -> None:
    verdict = admit(waiting=waiting, bound=bound, drain_per_s=drain_per_s)
    assert verdict.admitted == (waiting < bound)
    if not verdict.admitted:
        assert RETRY_AFTER_MIN_S <= verdict.retry_after_s <= RETRY_AFTER_MAX_S


def test_retry_after_is_the_time_the_line_takes_to_drain() -> None:
    assert admit(waiting=1000, bound=1000, drain_per_s=100).retry_after_s == pytest.approx(10)


@pytest.mark.parametrize(("priority", "level"), [(-7, -1), (-1, -1), (0, 0), (1, 1), (10, 1)])
def test_levels(priority: int, level: int) -> None:
    assert level_of(priority) == level


@pytest.mark.parametrize(("slots", "window"), [(1, 1), (2, 2), (4, 3), (8, 6), (32, 24)])
def test_a_window_leaves_a_quarter(slots: int, window: int) -> None:
    assert slot_window(slots) == window


def take(line: WaitingLine[T], now_ns: int) -> T | None:
    """Whose turn it is, removed."""
    found = line.first(now_ns)
    if found is not None:
        assert line.first(now_ns) is found and line.discard(found)
    return found


def test_strict_between_levels_and_by_arrival_within() -> None:
    line: WaitingLine[str] = WaitingLine(aging_ns=1000)
    for arrival_ns, (item, level) in enumerate([("bulk", -1), ("b", 0), ("high", 1), ("c", 0)]):
        line.put(item, level=level, arrival_ns=arrival_ns)
    line.put("a", level=0, arrival_ns=-1)
    assert [take(line, 10) for _ in range(6)] == ["high", "a", "b", "c", "bulk", None]


@pytest.mark.parametrize(
    ("now_ns", "order"),
    [
        (999, ["high", "normal", "bulk"]),
        (1000, ["high", "bulk", "normal"]),
        (1899, ["high", "bulk", "normal"]),
        (2000, ["bulk", "normal", "high"]),
    ],
)
def test_each_further_wait_lifts_by_one_level(now_ns: int, order: list[str]) -> None:
    line: WaitingLine[str] = WaitingLine(aging_ns=1000)
    line.put("bulk", level=-1, arrival_ns=0)
    line.put("normal", level=0, arrival_ns=900)
    line.put("high", level=1, arrival_ns=950)
    assert [take(line, now_ns) for _ in range(3)] == order


@given(st.lists(st.tuples(st.sampled_from((-1, 0, 1)), st.integers(0, 3000)), max_size=30, unique_by=itemgetter(1)))
def test_the_line_and_the_batches_go_by_one_rule(waiting: list[tuple[int, int]]) -> None:
    line: WaitingLine[int] = WaitingLine(aging_ns=1000)
    queue = [Candidate(k, level, arrival_ns, 1, False) for k, (level, arrival_ns) in enumerate(waiting)]
    for each in queue:
        line.put(each.slot, level=each.level, arrival_ns=each.arrival_ns)
    found = [take(line, 3000) for _ in queue]
    assert found == choose(queue, BatchPolicy(30, 1000), now_ns=3000)


def test_discarded_ones_are_gone_and_are_let_go_of() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    random.seed(seed)
    line: WaitingLine[object] = WaitingLine(aging_ns=10**9)
    items = [object() for _ in range(500)]
    for k, item in enumerate(items):
        line.put(item, level=random.choice((-1, 0, 1)), arrival_ns=k)
    gone = set(random.sample(range(500), 450))
    assert all(line.discard(items[k]) for k in gone)
    assert not any(line.discard(items[k]) for k in gone)
    assert len(line) == 50 and all((item in line) == (k not in gone) for k, item in enumerate(items))
    assert sum(len(heap) for heap in line._heaps.values()) < 200
    found = [take(line, 500) for _ in range(20)] + line.drain()
    assert {id(item) for item in found} == {id(items[k]) for k in range(500) if k not in gone}
    assert len(line) == 0 and take(line, 500) is None


def test_who_comes_back_keeps_its_place() -> None:
    line: WaitingLine[str] = WaitingLine(aging_ns=1000)
    line.put("first", level=0, arrival_ns=0)
    line.put("second", level=0, arrival_ns=1)
    assert take(line, 2) == "first"
    line.put("first", level=0, arrival_ns=0)
    assert take(line, 2) == "first"
