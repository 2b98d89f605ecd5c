"""Which waiting requests form the next batch: thousands of random queues against the written rules."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.batching import Candidate, buckets, choose, effective_level

AGING_NS = 1_000
NOW_NS = 10_000

queues = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, NOW_NS), st.sampled_from([1, 2]), st.booleans()), max_size=40
).map(lambda rows: [Candidate(i, *row) for i, row in enumerate(rows)])


def pick(queue: list[Candidate], max_batch: int = 8) -> list[int]:
    return choose(queue, max_batch=max_batch, now_ns=NOW_NS, aging_ns=AGING_NS)


def urgency(candidate: Candidate) -> tuple[int, int]:
    level = effective_level(candidate.level, waited_ns=NOW_NS - candidate.arrival_ns, aging_ns=AGING_NS)
    return (-level, candidate.arrival_ns)


@settings(max_examples=1000)
@given(queue=queues, max_batch=st.integers(1, 16))
def test_a_batch_is_the_most_urgent_work_of_one_kind(queue: list[Candidate], max_batch: int) -> None:
    chosen = [queue[i] for i in pick(queue, max_batch)]
    assert bool(chosen) == bool(queue) and len(chosen) <= max_batch and len(set(chosen)) == len(chosen)
    if not queue:
        return
    assert urgency(chosen[0]) == min(map(urgency, queue))
    assert len({c.key for c in chosen}) == 1
    assert len(chosen) == 1 or not any(c.isolate for c in chosen)
    passed_over = [c for c in queue if c not in chosen and c.key == chosen[0].key and not c.isolate]
    if not chosen[0].isolate:
        assert all(urgency(c) >= urgency(chosen[-1]) for c in passed_over)
        assert len(chosen) == max_batch or not passed_over


def test_nothing_waiting_is_an_empty_batch() -> None:
    assert pick([]) == []


def test_aging_lifts_bulk_over_fresh_normal_work() -> None:
    old_bulk = Candidate(0, -1, NOW_NS - AGING_NS - 5, 1, False)
    fresh_normal = Candidate(1, 0, NOW_NS - 1, 1, False)
    assert pick([fresh_normal, old_bulk], 1) == [0]


def test_an_isolated_request_runs_alone() -> None:
    queue = [Candidate(0, 0, 1, 1, True), Candidate(1, 0, 2, 1, False)]
    assert pick(queue) == [0]
    assert pick([Candidate(0, 0, 3, 1, True), Candidate(1, 0, 2, 1, False)]) == [1]


def test_buckets_double_up_to_the_largest() -> None:
    assert buckets(1) == [1]
    assert buckets(8) == [1, 2, 4, 8]
    assert buckets(12) == [1, 2, 4, 8, 12]
