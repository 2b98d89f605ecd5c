"""The pool of connections to Postgres, against a real one that is killed, frozen, slow, full and wrong."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.errors import EngineClosed, InheritedByFork, LoginRefused, PoolExhausted, StoreUnavailable
from engine.stores.pool import ConnectionPool
from engine.stores.postgres_address import connection_parameters
from engine.stores.postgres_connection import BoundedConnection, ConnectionBook
from engine.stores.postgres_pool import PostgresPool
from tests.services.postgres_pools import counted_sessions, pool_of, seconds_until
from tests.services.postgres_server import PASSWORD, SUPERUSER, PostgresServer
from tests.services.proxy import Proxy
from tests.support.leaks import open_descriptors
from tests.support.wait import wait_for

HEALED_S = 20.0


def answers(pool: PostgresPool) -> bool:
    """Whether somebody who wants something gets it."""
    try:
        with pool.acquire(1.0) as connection:
            return connection.execute("SELECT 7").fetchone() == (7,)
    except StoreUnavailable:
        return False


def test_it_keeps_the_least_and_never_opens_more_than_the_most(server: PostgresServer) -> None:
    with pool_of(server, min_connections=3, max_connections=6) as pool, counted_sessions(server) as count:
        contract: ConnectionPool[BoundedConnection] = pool
        assert contract.wait_ready(5.0)
        wait_for(lambda: count() == 3 and pool.statistics().idle == 3, "the least")
        seen: list[int] = []
        with ThreadPoolExecutor(12) as threads:
            uses = [threads.submit(use_a_while, pool) for _ in range(24)]
            while not all(use.done() for use in uses):
                seen.append(count())
        assert [use.result() for use in uses] == [True] * 24
        assert 3 <= max(seen) <= 6
        statistics = pool.statistics()
        assert (statistics.in_use, statistics.waiting, statistics.max_connections) == (0, 0, 6)
        assert statistics.wait_s > 0 and statistics.opened <= 6 + 1  # the first one only asked


def use_a_while(pool: PostgresPool) -> bool:
    with pool.acquire(10.0) as connection:
        return connection.execute("SELECT true FROM pg_sleep(0.05)").fetchone() == (True,)


def test_who_waits_in_vain_is_told_so_in_time(server: PostgresServer) -> None:
    with pool_of(server, min_connections=1, max_connections=1) as pool:
        assert pool.wait_ready(5.0)
        with pool.acquire(5.0), pytest.raises(PoolExhausted):
            with pool.acquire(0.3):
                ...
        assert answers(pool)


def test_five_stale_connections_cost_one_attempt(server: PostgresServer) -> None:
    with pool_of(server) as pool:
        wait_for(lambda: pool.statistics().idle == 5, "the least")
        server.restart()
        results = [answers(pool) for _ in range(3)]
        assert results[1:] == [True, True]
        assert pool.statistics().lost >= 4


@pytest.mark.parametrize("fault", ["killed", "frozen", "deaf", "refused"])
def test_it_is_used_again_within_seconds_of_its_return(server: PostgresServer, fault: str) -> None:
    with Proxy(server.port) as proxy, pool_of(server, address=server.url(port=proxy.port)) as pool:
        assert pool.wait_ready(5.0)
        {"killed": server.kill, "frozen": server.freeze, "deaf": proxy.deafen, "refused": proxy.refuse}[fault]()
        wait_for(lambda: pool.statistics().breaker is not BreakerState.CLOSED, "the outage is noticed")
        with pytest.raises(StoreUnavailable):  # at once
            with pool.acquire(60.0):
                ...
        assert pool.trouble
        {"killed": server.start, "frozen": server.thaw, "deaf": proxy.come_back, "refused": proxy.come_back}[fault]()
        seconds_until(lambda: answers(pool), at_most_s=HEALED_S)
        assert pool.trouble == "" and pool.statistics().breaker is BreakerState.CLOSED
        wait_for(lambda: pool.statistics().idle >= 5, "the least is there again")


def test_a_server_that_is_away_at_the_start_is_used_once_it_comes(server: PostgresServer) -> None:
    server.kill()
    with pool_of(server) as pool:
        assert not pool.wait_ready(0.5)
        assert "refused" in pool.trouble
        server.start()
        assert pool.wait_ready(HEALED_S)


def test_a_frozen_server_holds_a_command_no_longer_than_its_limit(server: PostgresServer) -> None:
    with pool_of(server, min_connections=1) as pool:
        assert pool.wait_ready(5.0)
        with contextlib.suppress(StoreUnavailable), pool.acquire(5.0, command_timeout_s=0.5) as connection:
            server.freeze()
            seconds_until(lambda: fails(connection), at_most_s=1.5)
        assert connection.closed
        server.thaw()
        seconds_until(lambda: answers(pool), at_most_s=HEALED_S)


def fails(connection: BoundedConnection) -> bool:
    try:
        connection.execute("SELECT 1")
    except StoreUnavailable:
        return True
    return False


def test_an_answer_that_drips_ends_at_the_limit_too(server: PostgresServer) -> None:
    with Proxy(server.port) as proxy, pool_of(server, address=server.url(port=proxy.port), min_connections=1) as pool:
        assert pool.wait_ready(5.0)
        with pytest.raises(StoreUnavailable, match="in time"):
            with pool.acquire(5.0, command_timeout_s=0.6) as connection:
                proxy.drip(0.05)
                connection.execute("SELECT repeat('x', 10000)")


def test_an_attempt_that_took_too_long_leaves_no_socket_open(server: PostgresServer) -> None:
    gc.collect()
    before = sockets()
    gc.disable()  # what it closes comes too late
    try:
        server.freeze()
        book = ConnectionBook(5, when_failed=lambda error: None)
        with pytest.raises(psycopg.OperationalError):
            BoundedConnection.connect(book=book, **connection_parameters(server.url()))
        assert (sockets(), book.errors, book.count) == (before, 1, 0)
    finally:
        gc.enable()


def sockets() -> int:
    return sum(target.startswith("socket:") for target in open_descriptors().values())


def test_whoever_waits_for_a_server_that_is_gone_is_let_go_when_that_is_known(server: PostgresServer) -> None:
    with pool_of(server, command_timeout_s=60.0) as pool:
        assert pool.wait_ready(5.0)
        with pytest.raises(StoreUnavailable), pool.acquire(5.0) as connection:
            server.freeze()
            seconds_until(lambda: fails(connection), at_most_s=20.0)
            connection.execute("SELECT 1")
        server.thaw()


def test_a_wrong_password_is_told_and_never_shown(server: PostgresServer, caplog: pytest.LogCaptureFixture) -> None:
    wrong = "no-Such_Night5"
    caplog.set_level(logging.DEBUG)
    with pool_of(server, address=server.url().replace(PASSWORD, wrong)) as pool:
        wait_for(lambda: "password authentication failed" in pool.trouble, "the trouble is told")
        with pytest.raises(LoginRefused) as refused, pool.acquire(1.0):
            ...
        told = [str(refused.value), repr(refused.value), pool.trouble, repr(pool), str(vars(pool._pool)["name"])]
    assert not any(wrong in text for text in [*told, caplog.text])
    assert len([line for line in caplog.messages if "password authentication failed" in line]) == 1


def test_a_server_without_room_for_more_goes_on_serving_those_it_has(server: PostgresServer) -> None:
    server.execute("ALTER ROLE recorder CONNECTION LIMIT 2")
    with pool_of(server, min_connections=2, max_connections=6) as pool:
        wait_for(lambda: pool.statistics().idle == 2, "those that it gives")
        with ThreadPoolExecutor(6) as threads:
            assert all(threads.map(lambda _: use_a_while(pool), range(12)))
        server.execute("ALTER ROLE recorder CONNECTION LIMIT -1")
        assert pool.statistics().breaker is BreakerState.CLOSED and pool.statistics().errors > 0


def test_nothing_is_left_in_a_session(server: PostgresServer) -> None:
    """So that a proxy that hands sessions to others after each transaction may stand in between."""
    with pool_of(server, min_connections=1, max_connections=1) as pool:
        for number in range(12):  # psycopg prepares what it has seen five times, unless told not to
            with pool.acquire(5.0) as connection:
                connection.execute("SELECT %s::int", [number])
        with pool.acquire(5.0) as connection:
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_a_forked_child_is_refused_and_says_nothing_to_the_server(server: PostgresServer) -> None:
    with pool_of(server, min_connections=2, max_connections=2) as pool:
        wait_for(lambda: pool.statistics().idle == 2, "two connections")
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=use_in_child, args=(pool, there))
        child.start()
        assert here.recv() == "InheritedByFork"
        child.join(10.0)
        assert child.exitcode == 0
        assert answers(pool) and pool.statistics().lost == 0
        here.close()
        there.close()


def use_in_child(pool: PostgresPool, answer: multiprocessing.connection.Connection) -> None:
    try:
        with pool.acquire(1.0):
            answer.send("a connection")
    except InheritedByFork as error:
        answer.send(type(error).__name__)


def test_a_closed_pool_ends_its_threads_and_sessions_and_says_so(server: PostgresServer) -> None:
    before = threading.active_count()
    with pool_of(server) as pool, counted_sessions(server) as count:
        with pytest.raises(EngineClosed):
            PostgresPool.of(Settings(database_url=server.url())).wait_ready(0.0)
        wait_for(lambda: count() == 5, "five sessions")
        pool.close()
        pool.close()
        with pytest.raises(EngineClosed), pool.acquire(1.0):
            ...
        wait_for(lambda: count() == 0 and threading.active_count() == before, "nothing is left")


def test_the_sessions_never_exceed_the_most_while_connections_come_and_go(server: PostgresServer) -> None:
    with pool_of(server, min_connections=4, max_connections=4) as pool, counted_sessions(server) as count:
        wait_for(lambda: pool.statistics().idle == 4, "four connections")
        seen = []
        for _ in range(6):
            with server.connection(SUPERUSER) as killer:
                killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'recorder' LIMIT 2"
                )
            deadline = threading.Event()
            while not deadline.wait(0.005) and not answers(pool):
                seen.append(count())
            seen.append(count())
        wait_for(lambda: pool.statistics().idle == 4, "four connections again")
        assert max(seen) <= 4


def test_an_error_of_a_statement_leaves_the_connection_in_the_pool(server: PostgresServer) -> None:
    with pool_of(server, min_connections=1, max_connections=1) as pool:
        assert pool.wait_ready(5.0)
        with pytest.raises(psycopg.errors.UndefinedTable), pool.acquire(5.0) as connection:
            with connection.transaction():
                connection.execute("SELECT 1 FROM nowhere")
        statistics = pool.statistics()
        assert answers(pool) and (statistics.lost, statistics.errors) == (0, 0)
