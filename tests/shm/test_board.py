"""Counters: one writer each, seen by all, kept when the writer is gone."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from engine.errors import InternalError
from engine.observe.counters import latency_quantile_s
from engine.observe.histograms import LATENCY
from engine.observe.metrics import INSTANCE_COUNTERS, LANE_COUNTERS, PROCESS_COUNTERS, http_counter
from engine.shm.board import (
    COUNTED,
    InstanceBoard,
    LaneBoard,
    instance_rows,
    instance_totals,
    lane_totals,
    part_of,
    queue_length,
    spread,
)
from engine.shm.layout import Header
from tests.shm.rig import Rig, offered, request, take_first


def test_lanes_are_summed_whoever_owned_them(rig: Rig) -> None:
    LaneBoard(rig.segment, 0).add("requests")
    LaneBoard(rig.segment, 0).add("requests", 4)  # the next owner goes on
    LaneBoard(rig.segment, 1).add("requests", 10)
    LaneBoard(rig.segment, 1).add("expired")
    totals = lane_totals(rig.segment)
    assert set(totals) == set(LANE_COUNTERS)
    assert totals["requests"] == 15 and totals["expired"] == 1
    assert sum(totals.values()) == 16


@pytest.mark.parametrize(
    ("method", "endpoint", "status", "name"),
    [
        ("POST", "optimized", 504, "http.POST.optimized.504"),
        ("POST", "legacy", 302, "http.POST.legacy.other"),
        ("GET", "other", 200, "http.GET.other.200"),
        ("BREW", "optimized", 200, "http.other.other.200"),
    ],
)
def test_every_answer_has_a_counter(method: str, endpoint: str, status: int, name: str) -> None:
    assert http_counter(method, endpoint, status) == name
    assert name in PROCESS_COUNTERS


def test_an_undeclared_counter_is_an_error(rig: Rig) -> None:
    with pytest.raises(KeyError):
        LaneBoard(rig.segment, 0).add("made up")
    with pytest.raises(InternalError, match="called 3"):
        InstanceBoard(rig.segment, 3)


def test_threads_of_one_frontend_lose_no_count(rig: Rig) -> None:
    board = LaneBoard(rig.segment, 0)

    def count() -> None:
        for _ in range(5000):
            board.add("requests")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lane_totals(rig.segment)["requests"] == 20_000


def test_instances_keep_their_own_row_and_leave_their_counts(rig: Rig) -> None:
    names = [rig.steward.new_name(pid, 9) for pid in (11, 12)]
    for name in names:
        InstanceBoard(rig.segment, name).add("batches", name)
        InstanceBoard(rig.segment, name).add("busy_ns", 1000)
    assert [(row["name"], row["pid"], row["batches"]) for row in instance_rows(rig.segment)] == [(1, 11, 1), (2, 12, 2)]
    rig.steward.clear_row(names[0])
    assert [row["name"] for row in instance_rows(rig.segment)] == [2]
    reused = rig.steward.new_name(13, 9)
    assert [row["batches"] for row in instance_rows(rig.segment) if row["name"] == reused] == [0]
    totals = instance_totals(rig.segment)
    assert set(totals) == set(INSTANCE_COUNTERS)
    assert (totals["batches"], totals["busy_ns"], totals["failed"]) == (3, 2000, 0)


def test_the_queue_is_what_is_ready_and_what_waits_in_frontends(rig: Rig) -> None:
    lanes = [rig.owner(0), rig.owner(1)]
    for lane in lanes:
        offered(lane, request())
        lane.tell_waiting(5)
    assert queue_length(rig.segment) == 12
    rig.taker().take(take_first)
    assert queue_length(rig.segment) == 11
    rig.steward.sweep(1, bool)
    assert queue_length(rig.segment) == 5


def test_latencies_fall_into_their_buckets(rig: Rig) -> None:
    board = LaneBoard(rig.segment, 0)
    for latency_ns in (1, 500_000, 500_001, 61_000_000_000):
        board.add_all([("latency_ns", latency_ns)])
    totals = lane_totals(rig.segment)
    assert [k for k, name in enumerate(LATENCY.buckets) for _ in range(totals[name])] == [0, 0, 1, 33]


def test_quantiles_are_within_the_bucket(rig: Rig) -> None:
    assert latency_quantile_s(lane_totals(rig.segment), 0.5) == 0.0
    board = LaneBoard(rig.segment, 0)
    for k in range(1, 1001):
        board.add_all([("latency_ns", k * 100_000)])  # 0.1 ms to 100 ms
    totals = lane_totals(rig.segment)
    assert latency_quantile_s(totals, 0.5) == pytest.approx(0.05, rel=0.1)
    assert latency_quantile_s(totals, 0.99) == pytest.approx(0.099, rel=0.1)
    board.add_all([("latency_ns", 10**12)])
    assert latency_quantile_s(lane_totals(rig.segment), 1.0) == LATENCY.shown_bounds[-1]


def test_what_is_kept_falls_into_the_bucket_of_each_and_not_of_the_sum(rig: Rig) -> None:
    sums: Counter[str] = Counter()
    for _ in range(3):
        for name, n in spread([("requests", 1), ("latency_ns", 400_000)]):
            sums[name] += n
    LaneBoard(rig.segment, 0).add_sums(sums.items())
    totals = lane_totals(rig.segment)
    assert (totals["requests"], totals["latency_ns"], totals[LATENCY.buckets[0]]) == (3, 1_200_000, 3)


@pytest.mark.parametrize("moment", ["targets stored", "totals half stored", "totals stored"])
def test_a_count_on_its_way_into_the_totals_is_read_once(rig: Rig, moment: str) -> None:
    """The supervisor may be killed at each of these moments, and whoever reads then must not see it twice or never."""
    for _ in range(2):
        InstanceBoard(rig.segment, rig.steward.new_name(1, 1)).add_all([("batches", 7), ("requests", 9)])
    rig.steward.clear_row(1)
    header = rig.segment.header
    for k, value in enumerate((14, 18)):
        header[Header.FOLD_TARGET + k] = value
    if moment != "targets stored":
        header[Header.FOLDING] = 2
        header[Header.FOLDED] = 14
    if moment == "totals stored":
        header[Header.FOLDED + 1] = 18
    totals = instance_totals(rig.segment)
    assert (totals["batches"], totals["requests"]) == (14, 18)


def test_what_is_carried_never_falls(rig: Rig) -> None:
    rig.steward.carry([5] * COUNTED)
    rig.steward.carry([3] * (COUNTED - 1) + [8])
    assert part_of(rig.segment)[0].carried == [5] * (COUNTED - 1) + [8]
