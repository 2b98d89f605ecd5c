"""From the archive to a real Postgres, whatever is killed between, and the commands that read it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.core.retention import RetentionPolicy
from engine.stores.archive import Archive
from engine.stores.journal_access import archive_of
from engine.stores.mover import Mover
from engine.stores.postgres_journal import PostgresJournal
from engine.stores.sender import Sender
from engine.stores.spool import JournalWriter
from frontend.cli.main import main
from tests.services.postgres_pools import pool_of
from tests.services.postgres_server import PostgresServer
from tests.stores.journal_parts import FOR_EVER, Counts, killed_at, move_all, row_of, write

SEND = """
import sys
from pathlib import Path
from engine.stores.postgres_journal import PostgresJournal
from engine.stores.postgres_pool import PostgresPool
from engine.stores.sender import Sender
from tests.stores.journal_parts import FOR_EVER, Counts
pool = PostgresPool(
    sys.argv[2], min_connections=1, max_connections=2, connection_timeout_s=5.0, command_timeout_s=10.0
)
pool.open()
pool.wait_ready(10.0)
Sender(Path(sys.argv[1]), PostgresJournal(pool), FOR_EVER, Counts()).send()
"""
NOON = 1_795_000_000.25
DAY = 86_400.0

Run = Callable[..., Result]


@pytest.fixture
def journal(server: PostgresServer) -> Iterator[PostgresJournal]:
    with pool_of(server, min_connections=1, command_timeout_s=5.0) as pool:
        assert pool.wait_ready(5.0)
        yield PostgresJournal(pool)


@pytest.fixture
def run(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__STATE_DIR", str(tmp_path))
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__DATABASE_URL", server.url())

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["journal", *arguments], catch_exceptions=False)

    return run


def sent_all(state_dir: Path, journal: PostgresJournal) -> Counts:
    sender = Sender(state_dir, journal, FOR_EVER, counts := Counts())
    while sender.send():
        pass
    sender.close()
    return counts


def record(state_dir: Path, *moments: float) -> None:
    writer = JournalWriter(state_dir, Counts(), max_bytes=1 << 30)
    for number, moment in enumerate(moments):
        writer.record(row_of(writer, f"{number} h\u00f6rt \U0001f989.wav", answered_at=moment))
    writer.record(row_of(writer)._replace(segments=(), status=503, outcome="error", error_code="NOT_READY"))
    writer.close()


@pytest.mark.parametrize("form", ["csv", "raven", "json"])
def test_an_export_is_the_same_from_both(run: Run, journal: PostgresJournal, tmp_path: Path, form: str) -> None:
    record(tmp_path, *(NOON + number * 0.123457 for number in range(20)))
    move_all(tmp_path)
    assert sent_all(tmp_path, journal) == {"journal.sent": 21}
    for limits in ((), ("--since", "2026-11-18T11:06:41Z", "--until", "2026-11-18T11:06:42Z")):
        here, there = (run("export", "--format", form, *limits, *where) for where in ((), ("--postgres",)))
        assert here.exit_code == there.exit_code == 0 and here.output == there.output
        assert here.output.count("\n") > 5


def test_prune_deletes_in_both(run: Run, journal: PostgresJournal, tmp_path: Path) -> None:
    record(tmp_path, 1_700_000_000.0, 1_700_000_001.0)
    move_all(tmp_path)
    sent_all(tmp_path, journal)
    assert run("prune").output == "2 rows deleted here\n2 rows deleted in Postgres\n"
    assert run("export", "--format", "json").output == run("export", "--format", "json", "--postgres").output


def test_migrate_makes_the_tables_once_and_prints_what_it_does(run: Run, server: PostgresServer) -> None:
    assert "CREATE TABLE" in run("migrate", "--print").output
    assert server.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'nightscan_engine'") == []
    assert run("migrate").output == "the tables are made\n"
    assert run("migrate").output == "the tables are as they should be\n"


def test_without_a_postgres_the_commands_say_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__DATABASE_URL", "")
    for command in (["migrate"], ["export", "--postgres"]):
        result = run(*command)
        assert result.exit_code == 2 and "database_url" in result.output


@pytest.mark.parametrize("point", ["send.read", "send.sent", "send.marked"])
def test_a_sender_that_is_killed_goes_on_where_the_mark_is(
    journal: PostgresJournal, server: PostgresServer, tmp_path: Path, point: str
) -> None:
    write(tmp_path, [str(number) for number in range(30)])
    move_all(tmp_path)
    killed_at(point, SEND, str(tmp_path), server.url())
    with archive_of(tmp_path) as archive:
        assert archive.backlog().rows == (0 if point == "send.marked" else 30)
    sent_all(tmp_path, journal)
    assert server.rows("SELECT count(*), count(DISTINCT id) FROM nightscan_engine.answers") == [(30, 30)]


def test_a_row_that_is_refused_stays_here_and_holds_up_nobody(
    journal: PostgresJournal, server: PostgresServer, tmp_path: Path
) -> None:
    journal.migrate()
    server.execute("ALTER TABLE nightscan_engine.answers ADD CONSTRAINT owners CHECK (file <> '7')")
    write(tmp_path, [str(number) for number in range(30)])
    move_all(tmp_path)
    assert sent_all(tmp_path, journal) == {"journal.sent": 29, "journal.rejected": 1}
    with archive_of(tmp_path) as archive:
        assert archive.backlog() == (0, 0.0) and archive.counts()["rejected"] == 1
    assert sent_all(tmp_path, journal) == {}
    assert server.rows("SELECT count(*) FROM nightscan_engine.answers") == [(29,)]


def test_a_backlog_of_an_outage_arrives_once(journal: PostgresJournal, server: PostgresServer, tmp_path: Path) -> None:
    write(tmp_path, [str(number) for number in range(7_000)])
    move_all(tmp_path)
    sent_all(tmp_path, journal)
    archive = Archive.open(tmp_path)
    assert archive.backlog().rows == 0
    archive.close()
    assert server.rows("SELECT count(*), count(DISTINCT id) FROM nightscan_engine.answers") == [(7_000, 7_000)]


def test_rows_that_postgres_has_go_first(journal: PostgresJournal, tmp_path: Path) -> None:
    write(tmp_path, [str(number) for number in range(6_000)])
    move_all(tmp_path)
    sent_all(tmp_path, journal)
    write(tmp_path, [str(number) for number in range(6_000, 7_000)])
    move_all(tmp_path)
    with archive_of(tmp_path) as archive:
        most_bytes = archive.used_bytes() // 3
    mover = Mover(tmp_path, RetentionPolicy(0, most_bytes), counts := Counts(), is_sent=True)
    while mover.prune():
        pass
    mover.close()
    with archive_of(tmp_path) as archive:
        assert archive.backlog().rows == 1_000 and archive.counts()["rows"] <= 2_333
    assert counts == {}
