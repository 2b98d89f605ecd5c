"""Which waiting requests form the next batch: thousands of random queues against the written rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.batching import BatchPolicy, Candidate, buckets, choose, worth_taking

AGING_NS = 1_000
NOW_NS = 5_000

queues = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, NOW_NS), st.sampled_from([1, 2]), st.booleans()), max_size=40
).map(lambda rows: [Candidate(i, *row) for i, row in enumerate(rows)])


def pick(queue: list[Candidate], max_batch: int = 8) -> list[int]:
    return choose(queue, BatchPolicy(max_batch, AGING_NS), now_ns=NOW_NS)


def urgency(candidate: Candidate) -> tuple[int, int]:
    """The written rule: one level more for each AGING_NS of waiting, up to the highest; then by arrival."""
    return (-min(1, candidate.level + (NOW_NS - candidate.arrival_ns) // AGING_NS), candidate.arrival_ns)


@settings(max_examples=400)
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


@pytest.mark.parametrize(
    ("level", "waited_ns", "other", "is_first"),
    [
        (-1, AGING_NS, 0, True),
        (-1, AGING_NS - 1, 0, False),
        (-1, 2 * AGING_NS, 1, True),
        (-1, 2 * AGING_NS - 1, 1, False),
        (0, AGING_NS, 1, True),
        (0, AGING_NS - 1, 1, False),
    ],
)
def test_each_aging_ms_of_waiting_lifts_by_one_level(level: int, waited_ns: int, other: int, is_first: bool) -> None:
    old = Candidate(0, level, NOW_NS - waited_ns, 1, False)
    fresh = Candidate(1, other, NOW_NS - 1, 1, False)
    assert pick([fresh, old], 1) == [0 if is_first else 1]


@settings(max_examples=100)
@given(queue=queues, max_batch=st.integers(1, 4), each_step=st.integers(1, 4), step_ns=st.integers(200, 700))
def test_nothing_waits_for_ever_under_a_flood_of_interactive_work(
    queue: list[Candidate], max_batch: int, each_step: int, step_ns: int
) -> None:
    """Interactive requests arrive for ever, faster perhaps than they are served: whatever waited before leaves."""
    waiting, now_ns, slot = {c.slot: c for c in queue}, NOW_NS, len(queue)
    # After twice the aging nobody who came later goes first, and each batch takes at least one.
    for _ in range(2 + 2 * AGING_NS // step_ns + len(queue)):
        for _ in range(each_step):
            waiting[slot] = Candidate(slot, 1, now_ns, 1, False)
            slot += 1
        for chosen in choose(list(waiting.values()), BatchPolicy(max_batch, AGING_NS), now_ns=now_ns):
            del waiting[chosen]
        now_ns += step_ns
    assert not waiting.keys() & {c.slot for c in queue}


def test_an_isolated_request_runs_alone() -> None:
    queue = [Candidate(0, 0, 1, 1, True), Candidate(1, 0, 2, 1, False)]
    assert pick(queue) == [0]
    assert pick([Candidate(0, 0, 3, 1, True), Candidate(1, 0, 2, 1, False)]) == [1]


@pytest.mark.parametrize(
    ("ready", "idle", "busy"), [(0, False, False), (1, True, False), (3, True, False), (4, True, True)]
)
def test_an_idle_instance_waits_for_nothing_and_a_busy_one_for_a_full_batch(ready: int, idle: bool, busy: bool) -> None:
    policy = BatchPolicy(4, AGING_NS)
    assert worth_taking(ready, policy, busy=False) == idle
    assert worth_taking(ready, policy, busy=True) == busy


def test_buckets_double_up_to_the_largest() -> None:
    assert buckets(1) == [1]
    assert buckets(8) == [1, 2, 4, 8]
    assert buckets(12) == [1, 2, 4, 8, 12]
