"""When a dead instance is started again: bounded attempts before it ever ran, back-off afterwards, never a storm."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.lifecycle import InstanceState
from engine.core.restart import Death, RestartPolicy, SeatRecord, classify, decide

POLICY = RestartPolicy()
UNTOLD = st.sampled_from([Death.REPORTED, Death.NEVER_BOOTED, Death.RAN])
LIVES = st.lists(st.tuples(UNTOLD, st.floats(0, 100)), max_size=60)


def test_the_state_at_death_says_how_it_died() -> None:
    expected = {
        InstanceState.STARTING: Death.NEVER_BOOTED,
        InstanceState.LOADING: Death.NEVER_BOOTED,
        InstanceState.WARMING: Death.NEVER_BOOTED,
        InstanceState.FAILED: Death.REPORTED,
        InstanceState.READY: Death.RAN,
        InstanceState.LEAVING: Death.ASKED,
    }
    assert {state: classify(state) for state in expected} == expected


@settings(max_examples=300)
@given(LIVES)
def test_a_seat_that_never_ran_is_tried_a_bounded_number_of_times(lives: list[tuple[Death, float]]) -> None:
    record, starts = SeatRecord(), 1
    for death, _ in lives:
        if death is Death.RAN:
            continue
        verdict = decide(record, death, ran_s=0.0, policy=POLICY)
        record = verdict.record
        if verdict.restart_in_s is None:
            assert verdict.hopeless
            break
        starts += 1
    assert starts <= POLICY.silent_attempts


@given(st.integers(0, 60))
def test_a_machine_that_has_no_process_to_give_is_asked_again_for_ever(times: int) -> None:
    """Nobody is made to wait for it; and what is known of the model by then counts as if nothing had been."""
    record = SeatRecord(boot_failures=1)
    for _ in range(times):
        verdict = decide(record, Death.UNBORN, ran_s=0.0, policy=POLICY)
        record = verdict.record
        assert verdict.restart_in_s is not None and verdict.restart_in_s <= POLICY.longest_pause_s
        assert verdict.hopeless is (record.unborn >= POLICY.silent_attempts)
    verdict = decide(record, Death.NEVER_BOOTED, ran_s=0.0, policy=POLICY)
    assert (verdict.record.boot_failures, verdict.record.unborn, verdict.hopeless) == (2, 0, False)


@settings(max_examples=300)
@given(LIVES)
def test_a_seat_that_has_run_is_never_given_up(lives: list[tuple[Death, float]]) -> None:
    record = SeatRecord(has_run=True)
    for death, ran_s in lives:
        verdict = decide(record, death, ran_s=ran_s, policy=POLICY)
        record = verdict.record
        assert verdict.restart_in_s is not None
        assert record.has_run


@settings(max_examples=300)
@given(LIVES)
def test_pauses_are_bounded_and_a_storm_is_slowed_down(lives: list[tuple[Death, float]]) -> None:
    """Over any history, fewer than a handful of immediate restarts in a row."""
    record, immediate = SeatRecord(), 0
    for death, ran_s in lives:
        ran_s = min(ran_s, POLICY.steady_s / 2)
        verdict = decide(record, death, ran_s=ran_s, policy=POLICY)
        record = verdict.record
        if verdict.restart_in_s is None:
            record = SeatRecord(has_run=True)
            continue
        assert 0 <= verdict.restart_in_s <= POLICY.longest_pause_s
        immediate = immediate + 1 if verdict.restart_in_s == 0 else 0
        assert immediate <= 1


@given(st.integers(0, 10), st.floats(POLICY.steady_s, 1e6))
def test_having_run_steadily_wipes_the_record(young_deaths: int, ran_s: float) -> None:
    verdict = decide(SeatRecord(young_deaths=young_deaths), Death.RAN, ran_s=ran_s, policy=POLICY)
    assert verdict.restart_in_s == 0.0
    assert verdict.record == SeatRecord(has_run=True)


@given(st.integers(1, 10_000))
def test_pauses_double_up_to_the_longest(failures: int) -> None:
    pause_s = POLICY.pause_s(failures)
    assert pause_s == min(POLICY.longest_pause_s, POLICY.first_pause_s * 2.0 ** min(failures - 1, 32))
    assert POLICY.pause_s(failures + 1) >= pause_s


@given(st.integers(0, 10_000), st.booleans())
def test_another_model_is_tried_again_at_growing_pauses_and_never_given_up(changes: int, has_run: bool) -> None:
    record = SeatRecord(has_run=has_run, boot_failures=1, changes=changes)
    verdict = decide(record, Death.CHANGED, ran_s=0.0, policy=POLICY)
    assert verdict.hopeless  # nobody should wait for it
    assert verdict.restart_in_s == POLICY.change_pause_s(changes + 1)
    assert POLICY.first_change_pause_s <= verdict.restart_in_s <= POLICY.longest_pause_s
    assert verdict.record == SeatRecord(has_run=has_run, boot_failures=1, changes=changes + 1)


@given(st.builds(SeatRecord, st.booleans(), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), st.floats(0, 1e4))
def test_who_was_told_to_leave_is_not_replaced(record: SeatRecord, ran_s: float) -> None:
    verdict = decide(record, Death.ASKED, ran_s=ran_s, policy=POLICY)
    assert verdict.restart_in_s is None
    assert not verdict.hopeless
