"""The largest batch sinks at once, is found by halves, and comes back slowly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.ceiling import CLIMB_AFTER, FIRST_PAUSE_NS, LONGEST_PAUSE_NS, BatchCeiling, CeilingRecord


def run(ceiling: BatchCeiling, room: int, *, batches: int, now_ns: int = 0) -> list[int]:
    """Full batches on a device with room for so many items; the sizes tried."""
    tried = []
    for _ in range(batches):
        tried.append(ceiling.look(now_ns))
        if tried[-1] > room:
            ceiling.sink(tried[-1], now_ns)
        else:
            ceiling.fit(tried[-1])
    return tried


def test_a_batch_that_did_not_fit_is_not_asked_for_again() -> None:
    ceiling = BatchCeiling(8)
    ceiling.sink(8, 0)
    assert ceiling.look(0) == 4
    ceiling.sink(4, 0)
    assert ceiling.look(FIRST_PAUSE_NS - 1) == 2


@given(most=st.integers(1, 1024), room=st.integers(1, 1024))
def test_the_largest_that_fits_is_found_by_halves(most: int, room: int) -> None:
    ceiling = BatchCeiling(most)
    tried = run(ceiling, room, batches=12 + CLIMB_AFTER * 12)
    assert ceiling.limit == min(most, room)
    assert sum(size > room for size in tried) <= most.bit_length()


def test_memory_that_is_taken_later_lowers_it_and_what_is_given_back_raises_it() -> None:
    ceiling = BatchCeiling(8)
    run(ceiling, 8, batches=5)
    run(ceiling, 5, batches=10)
    assert ceiling.limit == 5
    run(ceiling, 2, batches=10)
    assert ceiling.limit == 2
    run(ceiling, 8, batches=10, now_ns=FIRST_PAUSE_NS - 1)
    assert ceiling.limit == 2
    run(ceiling, 8, batches=10, now_ns=FIRST_PAUSE_NS)
    assert ceiling.limit == 8 and not ceiling.is_open


def test_what_did_not_fit_is_tried_once_more_and_never_again() -> None:
    ceiling, now_ns = BatchCeiling(8), 0
    run(ceiling, 5, batches=20)
    tried = []
    for _ in range(100):
        now_ns += LONGEST_PAUSE_NS
        tried += run(ceiling, 5, batches=3, now_ns=now_ns)
    assert [size for size in tried if size > 5] == [6] and ceiling.record == CeilingRecord(6, 2, 6)


def test_the_next_process_begins_below_what_did_not_fit() -> None:
    first = BatchCeiling(8)
    run(first, 5, batches=20)
    second = BatchCeiling(8, first.record)
    assert set(run(second, 5, batches=50)) == {5}
    assert run(second, 5, batches=2, now_ns=FIRST_PAUSE_NS) == [6, 5]  # the memory may have been somebody else's then
    third = BatchCeiling(8, second.record)
    assert set(run(third, 8, batches=50) + run(third, 8, batches=50, now_ns=10**15)) == {5}


def test_a_ceiling_that_is_gone_is_forgotten() -> None:
    ceiling = BatchCeiling(8, CeilingRecord(6, 1, 0))
    run(ceiling, 8, batches=1)
    run(ceiling, 8, batches=20, now_ns=FIRST_PAUSE_NS)
    assert ceiling.limit == 8 and ceiling.record == CeilingRecord()


@pytest.mark.parametrize("record", [CeilingRecord(-3, 1, -1), CeilingRecord(1, 5, 1), CeilingRecord(99, 2, 99)])
def test_a_record_that_makes_no_sense_is_no_record(record: CeilingRecord) -> None:
    assert BatchCeiling(8, record).limit == 8


def test_a_lower_ceiling_below_one_for_good_comes_back_up_to_it() -> None:
    ceiling = BatchCeiling(16, CeilingRecord(9, 2, 9))
    run(ceiling, 3, batches=20)
    assert ceiling.limit == 3
    assert max(run(ceiling, 16, batches=50, now_ns=FIRST_PAUSE_NS)) == ceiling.limit == 8


@given(most=st.integers(1, 64), events=st.lists(st.tuples(st.integers(0, 10**11), st.booleans())))
def test_it_stays_between_one_and_what_was_wished(most: int, events: list[tuple[int, bool]]) -> None:
    ceiling, now = BatchCeiling(most), 0
    for pause, fits in events:
        now += pause
        size = ceiling.look(now)
        assert 1 <= size <= most
        if fits:
            ceiling.fit(size)
        elif size > 1:
            ceiling.sink(size, now)
            assert ceiling.limit < size
