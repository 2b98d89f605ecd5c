"""Connections to the original API: bounded in number, left alone while it is away, and seen by everybody."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import closing

import pytest

from engine.clock import Deadline
from engine.core.breaker import BreakerState
from engine.errors import ConfigError, DeadlineExceeded, EngineClosed, InheritedByFork, PoolExhausted, StoreUnavailable
from engine.shm.process_row import ProcessRow
from engine.stores import http_calls, http_pool
from engine.stores.http_pool import HttpPool
from tests.stores.http_pools import LONG_S, ask, error_of, original, pool, pool_for
from tests.support.original import ANSWER, How, Original
from tests.support.wait import wait_for

__all__ = ["original", "pool"]  # fixtures


def test_the_circuit_opens_and_closes_again_by_itself(original: Original, pool: HttpPool) -> None:
    original.how = How.HANG_UP
    for _ in range(3):
        error_of(ask(pool))
    wait_for(lambda: pool.statistics().breaker is BreakerState.OPEN, "it is open")
    asked = len(original.requests)
    with pytest.raises(StoreUnavailable, match="left alone"):
        ask(pool).result()
    assert len(original.requests) == asked, "it is left alone"
    original.how = How.ANSWER

    def answers() -> bool:
        try:
            return ask(pool).result().body == ANSWER
        except StoreUnavailable:
            return False

    wait_for(answers, "it is tried again", timeout_s=5)
    assert pool.statistics().breaker is BreakerState.CLOSED


def test_those_who_wait_for_a_connection_are_told_when_the_circuit_opens(original: Original) -> None:
    original.how = How.SLOW
    with closing(pool_for(original.url, share=3)) as pool:
        patient = [ask(pool) for _ in range(20)]
        wait_for(lambda: len(original.requests) == 3, "three are asked, the others wait")
        original.how = How.HANG_UP
        original.hang_up()
        assert all(type(error_of(call)) is StoreUnavailable for call in patient)
    assert original.connections <= 3 + 2, "after three failures nobody else is asked"


def test_no_more_connections_than_allowed_and_every_call_is_over_by_its_deadline(original: Original) -> None:
    original.how = How.DRIP
    with closing(pool_for(original.url, share=5)) as pool:
        begun = time.monotonic()
        calls = [ask(pool, within_s=0.5 + 0.01 * (k % 10)) for k in range(64)]
        used: list[int] = []

        def all_over() -> bool:
            used.append(pool.statistics().in_use)
            return all(call.is_done for call in calls)

        wait_for(all_over, "every call is over", timeout_s=LONG_S)
        assert time.monotonic() - begun < LONG_S / 2 and max(used) == 5
        assert all(isinstance(error_of(call), (DeadlineExceeded, StoreUnavailable)) for call in calls)


def test_a_full_queue_is_a_refusal_at_once(original: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_calls, "MOST_WAITING", 3)
    monkeypatch.setattr(http_calls, "MOST_THREADS", 2)
    original.how = How.SLOW
    with closing(pool_for(original.url, share=2)) as pool:
        calls = []
        for _ in range(2):
            calls.append(ask(pool))
            wait_for(lambda: len(original.requests) == len(calls), "it is asked")
        calls += [ask(pool) for _ in range(3)]
        with pytest.raises(PoolExhausted):
            ask(pool)
        calls[-1].cancel()
        calls.append(ask(pool))
        assert pool.statistics().waiting == 3, "the one that was given up makes room"


class WatchedRow(ProcessRow):
    """Notes what is said to be held, and what the server has at that moment."""

    def __init__(self, shares: Mapping[str, int], original: Original) -> None:
        super().__init__(shares)
        self.said: list[tuple[int, int]] = []
        self._original = original

    def hold(self, pool: str, count: int) -> None:
        super().hold(pool, count)
        self.said.append((count, self._original.open_connections))


def test_a_share_that_shrinks_closes_connections_before_it_says_so(original: Original) -> None:
    shares = {"http": 3}
    row = WatchedRow(shares, original)
    pool = HttpPool(original.url, row, connect_timeout_s=5)
    pool.open()
    with closing(pool):
        with pool.acquire(5) as first, pool.acquire(5) as second, pool.acquire(5) as third:
            for line in (first, second, third):
                line.connect(Deadline.after_s(5))
            with pytest.raises(PoolExhausted):
                with pool.acquire(0.01):
                    pass
            shares["http"] = 1
            wait_for(lambda: pool.statistics().max_connections == 1, "it opens no more")
            assert row.said[-1][0] == 3, "but has them still"
        wait_for(lambda: row.said[-1][0] == 1, "it says what it has")
        wait_for(lambda: original.open_connections == 1, "the others are closed")
        shares["http"] = 0
        wait_for(lambda: row.said[-1][0] == 0, "nothing is left")
        assert pool.statistics().idle == 0
        waiting = ask(pool)
        wait_for(lambda: pool.statistics().waiting == 1, "with no share it waits")
        shares["http"] = 1
        assert waiting.result().body == ANSWER


def test_what_it_does_is_shown_in_the_row_of_its_process(original: Original) -> None:
    row = ProcessRow.private({"http": 2})
    pool = HttpPool(original.url, row, connect_timeout_s=5)
    pool.open()
    wait_for(lambda: row.get("http.initialized") == 1, "the pool is seen")
    ask(pool).result()
    wait_for(lambda: (row.get("http.opened"), row.get("http.idle")) == (1, 1), "its connection is seen")
    original.how = How.SLOW
    calls = [ask(pool) for _ in range(5)]
    wait_for(lambda: (row.get("http.in_use"), row.get("http.waiting")) == (2, 3), "the others wait")
    original.how = How.HANG_UP
    original.hang_up()
    for call in calls:
        error_of(call)
    wait_for(lambda: row.get("http.breaker") == BreakerState.OPEN, "the circuit is seen to be open")
    pool.close()
    now = [row.get(f"http.{what}") for what in ("initialized", "in_use", "idle", "waiting", "breaker")]
    assert now == [0] * 5 and row.get("http.opened") >= 2 and row.get("http.wait_ns") > 0
    assert (row.get("http.lost"), row.get("http.errors")) == (pool.statistics().lost, pool.statistics().errors)


def test_idle_connections_are_closed(original: Original, pool: HttpPool, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(pool).result()
    monkeypatch.setattr(http_pool, "IDLE_S", 0.0)
    wait_for(lambda: original.open_connections == 0, "it is closed")
    assert pool.statistics().idle == 0


def test_close_ends_every_call_and_thread(original: Original) -> None:
    original.how = How.SLOW
    pool = pool_for(original.url, share=2)
    calls = [ask(pool) for _ in range(6)]
    wait_for(lambda: len(original.requests) == 2, "two are asked")
    pool.close()
    assert all(isinstance(error_of(call), EngineClosed) for call in calls)
    with pytest.raises(EngineClosed):
        ask(pool)
    pool.close()
    wait_for(lambda: not [t for t in threading.enumerate() if t.name.startswith("http-")], "no thread is left")


def test_a_forked_child_is_told_and_the_parents_connection_goes_on(original: Original, pool: HttpPool) -> None:
    ask(pool).result()
    pid = os.fork()
    if pid == 0:
        try:
            ask(pool)
        except InheritedByFork:
            pool.close()
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert ask(pool).result().body == ANSWER and original.connections == 1


def test_wait_ready_tells_whether_it_accepts(original: Original, pool: HttpPool) -> None:
    assert pool.wait_ready(5)
    original.stop()
    assert not pool.wait_ready(5)


def test_who_asks_without_waiting_is_called_back(original: Original, pool: HttpPool) -> None:
    told = threading.Event()
    call = ask(pool)
    call.add_done_callback(told.set)
    assert told.wait(10) and call.result().body == ANSWER
    again = threading.Event()
    call.add_done_callback(again.set)
    assert again.is_set(), "it was over"


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://[::1", "http://host:99999999/", "nonsense"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        HttpPool(url, ProcessRow.private(), connect_timeout_s=1)
    assert url not in str(raised.value)
