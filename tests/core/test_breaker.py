"""A server that does not answer is left alone, and tried again, by one at a time."""

from __future__ import annotations

import random

from engine.core.breaker import FAILURES_TO_OPEN, FIRST_PAUSE_NS, LONGEST_PAUSE_NS, Breaker, BreakerState


def opened(now_ns: int = 0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(now_ns)
    return breaker


def test_some_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed(0)
        assert breaker.may_try(0)
    breaker.succeeded()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed(0)
    assert breaker.state is BreakerState.CLOSED
    breaker.failed(0)
    assert not breaker.may_try(FIRST_PAUSE_NS - 1)


def test_after_the_pause_one_tries_and_the_others_wait_for_how_it_goes() -> None:
    breaker = opened()
    assert breaker.may_try(FIRST_PAUSE_NS)
    assert not breaker.may_try(FIRST_PAUSE_NS)
    breaker.succeeded()
    assert breaker.may_try(FIRST_PAUSE_NS) and breaker.may_try(FIRST_PAUSE_NS)


def test_an_attempt_that_was_given_up_leaves_the_place_to_another() -> None:
    breaker = opened()
    assert breaker.may_try(FIRST_PAUSE_NS)
    breaker.abandoned(FIRST_PAUSE_NS)
    assert breaker.may_try(FIRST_PAUSE_NS)


def test_whatever_happens_pauses_are_bounded_and_one_success_closes_it() -> None:
    for seed in range(1000):
        dice, breaker, now_ns = random.Random(seed), Breaker(), 0
        for _ in range(50):
            now_ns += dice.randrange(LONGEST_PAUSE_NS)
            trying = breaker.may_try(now_ns)
            if trying and dice.random() < 0.2:
                breaker.succeeded()
                assert breaker.state is BreakerState.CLOSED, seed
            elif trying or dice.random() < 0.5:
                breaker.failed(now_ns)
        if breaker.state is BreakerState.OPEN:
            assert breaker.may_try(now_ns + LONGEST_PAUSE_NS), seed


def test_whether_it_would_refuse_can_be_asked_without_taking_the_one_attempt() -> None:
    breaker = Breaker(failures_to_open=1)
    assert not breaker.refuses(0)
    breaker.failed(0)
    assert breaker.refuses(FIRST_PAUSE_NS - 1)
    assert not breaker.refuses(FIRST_PAUSE_NS) and not breaker.refuses(FIRST_PAUSE_NS), "asking is no attempt"
    assert breaker.may_try(FIRST_PAUSE_NS) and breaker.refuses(FIRST_PAUSE_NS), "somebody is at it"
