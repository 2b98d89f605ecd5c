"""The journal in a real Postgres: each row once, whatever is killed; none held up by another; few rights are enough."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

import psycopg
import pytest

from engine import crash_points
from engine.errors import SchemaTooNew, StoreDenied, StoreUnavailable
from engine.stores.journal_record import JournalRow, encode, scan
from engine.stores.journal_schema import GRANTS
from engine.stores.migrations import ROLE, script
from engine.stores.postgres_journal import PostgresJournal
from engine.stores.postgres_pool import PostgresPool
from tests.services.journal_rows import START_S, row, send
from tests.services.postgres_pools import counted_sessions, pool_of, seconds_until
from tests.services.postgres_server import OWNER, SUPERUSER, WRITER, PostgresServer
from tests.services.proxy import Proxy
from tests.support.server import ROOT
from tests.support.wait import wait_for

EVER = (0.0, 1e12)


@pytest.fixture
def pool(server: PostgresServer) -> Iterator[PostgresPool]:
    with pool_of(server, min_connections=1, command_timeout_s=5.0) as pool:
        assert pool.wait_ready(5.0)
        yield pool


@pytest.fixture
def journal(pool: PostgresPool) -> PostgresJournal:
    return PostgresJournal(pool)


def ids(server: PostgresServer) -> list[str]:
    query = "SELECT replace(id::text, '-', '') FROM nightscan_engine.answers ORDER BY answered_at, id"
    return [id for (id,) in server.rows(query, role=SUPERUSER)]


def test_rows_come_back_as_they_went_in_and_once(journal: PostgresJournal, server: PostgresServer) -> None:
    rows = [row(number, windows=number % 3) for number in range(1, 30)]
    assert send(journal, rows) == {}
    assert send(journal, rows[10:] + [row(30)] + rows[10:]) == {}
    assert list(journal.read(*EVER)) == [*rows, row(30)]
    assert list(journal.read(rows[3].answered_at, rows[6].answered_at)) == rows[3:6]


def test_the_view_has_a_row_for_each_class_of_each_window(journal: PostgresJournal, server: PostgresServer) -> None:
    send(journal, [row(1, windows=2), row(2, windows=0)])
    names = "file, segment, start_s, end_s, label, probability, request_id"
    found = server.rows(f"SELECT {names} FROM nightscan_engine.detections ORDER BY segment, probability DESC")
    assert len(found) == 10
    assert found[5] == ("night-1.wav", 1, 8.0, 16.0, "species 0", 0.5, "request-1")
    (moment,) = server.rows("SELECT DISTINCT extract(epoch FROM time)::float8 FROM nightscan_engine.detections")
    assert moment == (row(1).answered_at,)


def test_each_month_has_a_table_of_its_own_made_when_a_row_needs_it(
    journal: PostgresJournal, server: PostgresServer
) -> None:
    january_s, month_s = 1_704_067_200.0, 31 * 86_400.0
    moments = [january_s - 1e-6, january_s, january_s + month_s - 1e-6, january_s + month_s, 0.0]
    assert send(journal, [row(number, answered_at=moment) for number, moment in enumerate(moments, 1)]) == {}
    query = "SELECT tableoid::regclass::text, count(*) FROM nightscan_engine.answers GROUP BY 1 ORDER BY 1"
    assert server.rows(query) == [
        (f"nightscan_engine.answers_{month}", count)
        for month, count in [("1970_01", 1), ("2023_12", 1), ("2024_01", 2), ("2024_02", 1)]
    ]


def test_many_that_make_tables_and_months_at_once_make_each_once(server: PostgresServer) -> None:
    together = threading.Barrier(6)

    def send_some(number: int) -> dict[str, str]:
        with pool_of(server, min_connections=1, max_connections=2) as pool:
            assert pool.wait_ready(5.0)
            together.wait(20.0)
            moments = [START_S + month * 31 * 86_400.0 for month in range(4)]
            rows = [row(number * 10 + month, answered_at=moment) for month, moment in enumerate(moments)]
            return send(PostgresJournal(pool), rows)

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(send_some, range(6))) == [{}] * 6
    assert len(ids(server)) == 24
    assert server.rows("SELECT version FROM nightscan_engine.schema_versions") == [(1,)]


def test_what_no_database_takes_is_cleaned(journal: PostgresJournal) -> None:
    dirty = row(1)._replace(
        file="nul\0 and \ud800 lone", request_id="\udcff", segments=((0, 0.0, 8.0, (("bat\0\udc80", 0.5),)),)
    )
    assert journal.send(scan(encode(dirty))[0]) == {}
    (kept,) = journal.read(*EVER)
    assert kept.file == "nul\N{REPLACEMENT CHARACTER} and \N{REPLACEMENT CHARACTER} lone"
    assert kept.segments[0][3][0][0] == "bat\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "change",
    [
        {"status": 1 << 40},
        {"size_bytes": 1 << 80},
        {"priority": "high"},
        {"answered_at": float("nan")},
        {"answered_at": 1e18},
        {"answered_at": -1.0},
        {"segments": ((0, 0.0, float("nan"), ()),)},
        {"segments": (("not", "four"),)},
        {"segments": ((0.5, 0.0, 1.0, ()),)},
        {"segments": ((0, 0.0, 1.0, ((0.5, "owl"),)),)},
        {"segments": 7},
        {"file": "nul\0"},
        {"duration_s": "long"},
    ],
    ids=str,
)
def test_a_row_that_is_refused_is_named_and_holds_up_nobody(
    journal: PostgresJournal, server: PostgresServer, change: dict[str, object]
) -> None:
    rows = [row(number) for number in range(1, 40)]
    rows[17] = JournalRow(**{**rows[17]._asdict(), **change})  # as a stranger's spool has it
    refused = send(journal, rows)
    assert list(refused) == [rows[17].id] and refused[rows[17].id]
    assert ids(server) == [each.id for each in rows if each.id != rows[17].id]


def test_a_constraint_of_the_owner_refuses_its_rows_alone(journal: PostgresJournal, server: PostgresServer) -> None:
    send(journal, [row(1)])
    server.execute("ALTER TABLE nightscan_engine.answers ADD CONSTRAINT named CHECK (file <> 'secret.wav') NOT VALID")
    refused = send(journal, [row(2), row(3, file="secret.wav"), row(4)])
    assert list(refused) == [row(3).id] and "named" in refused[row(3).id]
    assert "secret.wav" not in refused[row(3).id]


# --- deaths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["postgres.copied", "postgres.inserted", "postgres.committed"])
def test_a_sender_that_dies_in_a_batch_leaves_all_or_nothing_and_its_successor_completes_it(
    journal: PostgresJournal, server: PostgresServer, point: str
) -> None:
    journal.migrate()
    command = [sys.executable, "-m", "tests.services.journal_rows", server.url()]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, crash_points.VARIABLE: point}, timeout=60.0)
    assert ended.returncode == -signal.SIGKILL
    assert len(ids(server)) == (199 if point == "postgres.committed" else 0)
    assert send(journal, [row(number) for number in range(1, 220)]) == {}
    assert ids(server) == [row(number).id for number in range(1, 220)]


@pytest.mark.parametrize("fault", ["killed", "cut", "frozen", "restarted"])
def test_a_server_that_is_lost_again_and_again_has_each_row_once(server: PostgresServer, fault: str) -> None:
    rows = [row(number) for number in range(1, 1001)]
    with Proxy(server.port) as proxy, pool_of(
        server, address=server.url(port=proxy.port), command_timeout_s=1.0
    ) as pool, ThreadPoolExecutor(1) as threads:
        assert pool.wait_ready(5.0)
        acts = {
            "killed": (server.kill, server.start),
            "cut": (proxy.cut, proxy.cut),
            "frozen": (server.freeze, server.thaw),
            "restarted": (server.restart,),
        }[fault]
        journal = PostgresJournal(pool)
        sending = threads.submit(send_in_batches, journal, rows)
        for act in acts * 3:  # how far the batches are by then is left to chance
            act()
            wait(sending, 0.1)
        sending.result(60.0)
        until_sent(journal, rows)  # all of it once more
    assert ids(server) == [each.id for each in rows]


def send_in_batches(journal: PostgresJournal, rows: list[JournalRow]) -> None:
    for at in range(0, len(rows), 20):
        until_sent(journal, rows[at : at + 20])


def wait(sending: Future[None], pause_s: float) -> None:
    with contextlib.suppress(FutureTimeout):
        sending.result(pause_s)


def until_sent(journal: PostgresJournal, rows: list[JournalRow]) -> None:
    def sent() -> bool:
        try:
            return send(journal, rows) == {}
        except StoreUnavailable:
            return False

    wait_for(sent, "the batch is there")


def test_a_slow_server_ends_a_statement_itself_and_the_connection_stays(server: PostgresServer) -> None:
    with pool_of(server, min_connections=1, max_connections=1, command_timeout_s=1.0) as pool:
        journal = PostgresJournal(pool)
        assert pool.wait_ready(5.0)
        send(journal, [row(1)])
        with psycopg.connect(server.url(SUPERUSER)) as other:
            other.execute("LOCK TABLE nightscan_engine.answers IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable, match="timeout"):
                send(journal, [row(2)])
            other.rollback()
        assert pool.statistics().lost == 0
        assert send(journal, [row(2)]) == {}


def test_an_outage_is_over_within_seconds_and_the_sessions_never_exceed_the_most(server: PostgresServer) -> None:
    with pool_of(server, min_connections=3, max_connections=4) as pool:
        journal = PostgresJournal(pool)
        assert pool.wait_ready(5.0)
        send(journal, [row(1)])
        server.kill()
        with pytest.raises(StoreUnavailable):
            send(journal, [row(2)])
        wait_for(lambda: pool.trouble, "the outage is known")
        server.start()
        seen: list[int] = []
        with counted_sessions(server) as count:

            def sent() -> bool:
                seen.append(count())
                try:
                    return send(journal, [row(2)]) == {}
                except StoreUnavailable:
                    return False

            seconds_until(sent, at_most_s=20.0)
            for _ in range(50):
                seen.append(count())
        assert max(seen) <= 4
        assert ids(server) == [row(1).id, row(2).id]


# --- tables and rights ----------------------------------------------------------------------------------------------


def test_a_newer_schema_is_left_alone(journal: PostgresJournal, server: PostgresServer) -> None:
    journal.migrate()
    server.execute("INSERT INTO nightscan_engine.schema_versions (version) VALUES (99)")
    with pool_of(server, min_connections=1) as pool, pytest.raises(SchemaTooNew, match="99"):
        send(PostgresJournal(pool), [row(1)])
    assert ids(server) == []


def test_a_role_without_rights_is_told_which_and_works_once_it_has_them(server: PostgresServer) -> None:
    address = server.url(WRITER)
    with pool_of(server, address=address, min_connections=1) as pool:
        journal = PostgresJournal(pool)
        assert pool.wait_ready(5.0)
        with pytest.raises(StoreDenied, match="permission denied for database"):
            send(journal, [row(1)])
        with server.connection(OWNER) as owner:
            owner.execute(script().split("-- All that a role")[0].encode())
        with pytest.raises(StoreDenied, match="permission denied for schema"):
            send(journal, [row(1)])
        server.execute(GRANTS.format(role=WRITER))
        assert send(journal, [row(number) for number in range(1, 4)]) == {}
        assert list(journal.read(*EVER)) == [row(1), row(2), row(3)]
        assert journal.delete_older(row(2).answered_at) == 1
        assert journal.delete_older(START_S + 40 * 86_400.0) == 2
        assert pool.statistics().lost == 0


def test_the_printed_script_is_what_the_migration_does(journal: PostgresJournal, server: PostgresServer) -> None:
    journal.migrate()
    made = described(server)
    server.execute("DROP SCHEMA nightscan_engine CASCADE")
    server.execute(f"CREATE ROLE {ROLE}")
    with server.connection(OWNER) as owner:
        owner.execute(script().encode())
    assert described(server) == made
    server.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
    assert not journal.migrate()


def described(server: PostgresServer) -> list[tuple[object, ...]]:
    return server.rows(
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'nightscan_engine' ORDER BY 1, ordinal_position"
    ) + server.rows("SELECT version FROM nightscan_engine.schema_versions")


def test_a_migration_waits_for_no_lock_for_ever(journal: PostgresJournal, server: PostgresServer) -> None:
    with psycopg.connect(server.url()) as other:
        other.execute("SELECT pg_advisory_xact_lock(5284061371209)")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            journal.migrate()


def test_tables_that_somebody_removed_are_made_again(journal: PostgresJournal, server: PostgresServer) -> None:
    send(journal, [row(1)])
    server.execute("DROP SCHEMA nightscan_engine CASCADE")
    with pytest.raises(StoreUnavailable):
        send(journal, [row(2)])
    assert send(journal, [row(2)]) == {}
    server.execute("DROP TABLE nightscan_engine.answers_2026_11")
    assert send(journal, [row(3)]) == {}
    assert ids(server) == [row(3).id]


def test_whole_months_are_dropped_and_the_rest_deleted(journal: PostgresJournal, server: PostgresServer) -> None:
    month_s = 31 * 86_400.0
    rows = [row(number, answered_at=START_S + number * month_s) for number in range(6)]
    send(journal, rows)
    assert journal.delete_older(rows[3].answered_at + 1.0) == 4
    assert list(journal.read(*EVER)) == rows[4:]
    tables = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'nightscan_engine.answers'::regclass"
    assert server.rows(tables) == [(3,)]
    assert send(journal, rows[:1]) == {}  # its month is made again
