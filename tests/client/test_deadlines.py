"""The deadline wheel: nothing early, nothing more than a bucket late, nothing twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.client.deadlines import BUCKET_BITS, DeadlineWheel

BUCKET_NS = 1 << BUCKET_BITS
MOMENTS = st.lists(st.integers(0, 40 * BUCKET_NS), max_size=60)


@given(MOMENTS, st.sets(st.integers(0, 59)), st.integers(1, 3 * BUCKET_NS))
def test_each_is_due_once_on_time_unless_removed(moments: list[int], removed: set[int], step_ns: int) -> None:
    wheel: DeadlineWheel[int] = DeadlineWheel()
    buckets = [wheel.add(item, at_ns) for item, at_ns in enumerate(moments)]
    for item in removed & set(range(len(moments))):
        buckets[item].discard(item)
    seen: list[int] = []
    now_ns = 0
    while (next_ns := wheel.next_ns()) is not None:
        now_ns = max(next_ns, now_ns + step_ns)
        for item in wheel.due(now_ns):
            assert moments[item] <= now_ns
            seen.append(item)
        assert not [k for k in range(len(moments)) if moments[k] <= now_ns - BUCKET_NS and k not in {*seen, *removed}]
    assert sorted(seen) == [k for k in range(len(moments)) if k not in removed]


def test_a_drained_wheel_is_empty() -> None:
    wheel: DeadlineWheel[str] = DeadlineWheel()
    bucket = wheel.add("a", 5)
    assert wheel.add("b", 5) is bucket
    assert sorted(wheel.drain()) == ["a", "b"]
    assert wheel.next_ns() is None and wheel.due(1 << 60) == []
    bucket.discard("a")
    assert wheel.drain() == []
