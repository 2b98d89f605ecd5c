"""How long an instance that was told to leave may stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.core.leaving import LeavePolicy

POLICY = LeavePolicy()
MOMENTS = st.integers(0, 2**63)


@given(MOMENTS, MOMENTS)
def test_nobody_is_killed_before_a_deadline_in_hand(told_ns: int, deadline_ns: int) -> None:
    until_ns = POLICY.stays_until_ns(told_ns=told_ns, latest_deadline_ns=deadline_ns)
    assert until_ns >= max(told_ns + POLICY.idle_ns, deadline_ns + POLICY.margin_ns)
    assert until_ns in (told_ns + POLICY.idle_ns, deadline_ns + POLICY.margin_ns)


@given(MOMENTS)
def test_an_idle_one_has_a_moment_to_end(told_ns: int) -> None:
    assert POLICY.stays_until_ns(told_ns=told_ns, latest_deadline_ns=None) == told_ns + POLICY.idle_ns
