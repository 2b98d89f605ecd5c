"""Answers of the original API: complete, or none; within their deadline, whatever the server does."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from engine.clock import Deadline
from engine.core.breaker import BreakerState
from engine.errors import DeadlineExceeded, StoreUnavailable
from engine.stores import http_calls
from engine.stores.http_line import MAX_ANSWER_BYTES, AnswerTooLarge
from engine.stores.http_pool import HttpPool
from tests.stores.http_pools import LONG_S, QUESTION, ask, error_of, original, pool, pool_for
from tests.support.original import ANSWER, How, Original
from tests.support.wait import wait_for

__all__ = ["original", "pool"]  # fixtures


@pytest.mark.parametrize("how", [How.ANSWER, How.CHUNKED, How.CLOSED_END])
def test_an_answer_comes_complete_however_it_is_framed(original: Original, pool: HttpPool, how: How) -> None:
    original.how, original.status, original.body = how, 422, b"x" * 300_000
    answer = ask(pool).result()
    assert (answer.status, answer.body) == (422, original.body)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("how", [How.ANSWER, How.CHUNKED])
def test_an_answer_that_says_it_is_empty_is_one(original: Original, pool: HttpPool, how: How) -> None:
    original.how, original.body = how, b""
    assert ask(pool).result().body == b""


def test_a_connection_is_used_again(original: Original, pool: HttpPool) -> None:
    for _ in range(5):
        assert ask(pool).result().body == ANSWER
    found = pool.statistics()
    assert original.connections == 1 and (found.opened, found.idle, found.in_use, found.lost) == (1, 1, 0, 0)


def test_one_that_the_server_has_closed_meanwhile_costs_nothing(original: Original, pool: HttpPool) -> None:
    ask(pool).result()
    original.hang_up()
    wait_for(lambda: original.open_connections == 0, "the server has closed it")
    assert ask(pool).result().body == ANSWER
    assert (pool.statistics().lost, pool.statistics().errors) == (1, 0)


def test_one_that_the_server_closes_as_it_is_used_again_is_tried_once_more(original: Original, pool: HttpPool) -> None:
    ask(pool).result()
    original.how = How.HANG_UP
    assert isinstance(error_of(ask(pool)), StoreUnavailable), "the second connection was closed as well"
    assert original.requests == [b"POST /api/predict HTTP/1.1"] * 3


def test_a_server_that_keeps_no_connection_is_no_worse(original: Original, pool: HttpPool) -> None:
    original.keeps_alive = False
    assert [ask(pool).result().body for _ in range(3)] == [ANSWER] * 3
    assert pool.statistics().opened == 3 and pool.statistics().idle == 0


@pytest.mark.parametrize("how", [How.SLOW, How.DRIP, How.DRIP_HEAD])
def test_a_server_that_never_comes_to_an_end_is_cut_off_at_the_deadline(
    original: Original, pool: HttpPool, how: How
) -> None:
    original.how = how
    assert isinstance(error_of(ask(pool, within_s=0.3)), DeadlineExceeded)
    wait_for(lambda: original.open_connections == 0, "its connection is given up", timeout_s=5)
    wait_for(lambda: pool.statistics().in_use == 0, "and so is the thread")
    assert pool.statistics().breaker is BreakerState.CLOSED, "who does not wait for long does not see that it is slow"
    original.how = How.ANSWER
    assert ask(pool).result().body == ANSWER


@pytest.mark.parametrize("how", [How.SLOW, How.DRIP, How.DRIP_HEAD])
def test_the_circuit_is_open_before_the_first_of_those_who_were_late_is_told(
    original: Original, pool: HttpPool, how: How, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_calls, "PATIENCE_S", 0.1)
    original.how = how
    hasty, *others = [ask(pool, within_s) for within_s in (0.3, LONG_S, LONG_S)]
    assert isinstance(error_of(hasty), DeadlineExceeded)
    assert pool.statistics().breaker is BreakerState.OPEN, "it is silent to three"
    assert not any(call.is_done for call in others), "who waits already goes on waiting"


def test_one_late_answer_is_no_outage_while_others_are_answered(
    original: Original, pool: HttpPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_calls, "PATIENCE_S", 0.1)
    original.how = How.SLOW
    hasty, *_ = [ask(pool, within_s) for within_s in (0.5, LONG_S, LONG_S)]
    wait_for(lambda: len(original.requests) == 3, "they are asked")
    original.how = How.ANSWER
    ask(pool).result()
    assert isinstance(error_of(hasty), DeadlineExceeded)
    assert pool.statistics().breaker is BreakerState.CLOSED


def test_a_body_that_nobody_reads_is_cut_off_too(pool: HttpPool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = pool_for(f"http://127.0.0.1:{silent.getsockname()[1]}")
        question = QUESTION._replace(body=bytes(32 * 1024 * 1024))
        with closing(deaf):
            assert isinstance(error_of(deaf.ask(question, Deadline.after_s(0.3))), DeadlineExceeded)
            wait_for(lambda: deaf.statistics().in_use == 0, "the thread is free")


@pytest.mark.parametrize("how", [How.CUT, How.CUT_HEAD, How.NO_HTTP, How.HANG_UP])
def test_half_an_answer_is_none(original: Original, pool: HttpPool, how: How) -> None:
    original.how = how
    assert type(error_of(ask(pool))) is StoreUnavailable
    assert pool.statistics().errors == 1


def test_an_answer_of_16_mb_is_handed_on_and_a_larger_one_is_not(original: Original, pool: HttpPool) -> None:
    original.body = bytes(MAX_ANSWER_BYTES)
    assert ask(pool).result().body == original.body
    original.body = bytes(MAX_ANSWER_BYTES + 1)
    for _ in range(4):  # more than would open the circuit
        assert isinstance(error_of(ask(pool)), AnswerTooLarge)
    assert pool.statistics().breaker is BreakerState.CLOSED, "it does answer"


def test_what_nobody_waits_for_is_given_up(original: Original, pool: HttpPool) -> None:
    original.how = How.SLOW
    call = ask(pool)
    wait_for(lambda: len(original.requests) == 1, "it is asked")
    call.cancel()
    assert call.is_done
    wait_for(lambda: original.open_connections == 0, "the connection is closed")
    wait_for(lambda: pool.statistics().in_use == 0, "and so is the thread")
    assert pool.statistics().breaker is BreakerState.CLOSED, "who hangs up says nothing of the server"
