"""The largest batch sinks at once and comes back slowly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.core.ceiling import FIRST_PAUSE_NS, LONGEST_PAUSE_NS, BatchCeiling


def test_a_batch_that_did_not_fit_is_not_asked_for_again() -> None:
    ceiling = BatchCeiling(8)
    ceiling.sink(8, 0)
    assert ceiling.look(0) == 4
    ceiling.sink(4, 0)
    assert ceiling.look(FIRST_PAUSE_NS - 1) == 2


def test_a_larger_batch_is_tried_after_a_quiet_while() -> None:
    ceiling = BatchCeiling(6)
    ceiling.sink(6, 0)
    ceiling.sink(3, 0)
    assert ceiling.limit == 1
    looks = [ceiling.look(FIRST_PAUSE_NS * n) for n in (1, 1, 2, 3, 4)]
    assert looks == [2, 2, 4, 6, 6]


def test_each_try_too_many_doubles_the_pause() -> None:
    ceiling = BatchCeiling(2)
    ceiling.sink(2, 0)
    now, pauses = 0, []
    for _ in range(8):
        begin = now
        while ceiling.look(now) == 1:
            now += FIRST_PAUSE_NS
        pauses.append(now - begin)
        ceiling.sink(2, now)
    assert pauses == [min(LONGEST_PAUSE_NS, FIRST_PAUSE_NS << n) for n in range(8)]


@given(most=st.integers(1, 64), events=st.lists(st.tuples(st.integers(0, 10**11), st.booleans())))
def test_it_stays_between_one_and_what_was_wished(most: int, events: list[tuple[int, bool]]) -> None:
    ceiling, now = BatchCeiling(most), 0
    for pause, fits in events:
        now += pause
        size = ceiling.look(now)
        assert 1 <= size <= most
        if not fits and size > 1:
            ceiling.sink(size, now)
            assert ceiling.limit == size // 2
