"""The manuals on cache and journal: rights, commands and SQL run as they stand there, at servers that allow no more."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.conformance import sounds
from tests.conformance.conftest import MODEL, SETTING
from tests.faults.store_rig import OPTIMIZED, stats_of, wait_sent, wait_well
from tests.manuals.blocks import blocks, commands, statements
from tests.services.postgres_server import DATABASE, PostgresServer
from tests.services.redis_server import RedisServer
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

MANUAL, RIGHTS, TO_TRY = "frontend/README.md", "### The least rights", "### SQL to try"
HOME_MANUAL, HOME_SECTION = "README.md", "## Cache and journal"
BIN = Path(sys.executable).parent
RECORDINGS = 3


@dataclass(frozen=True)
class Served:
    """A server, started by the command of the manual, and both stores with the rights of the manual."""

    process: ServerProcess
    redis: RedisServer
    postgres: PostgresServer
    variables: dict[str, str]

    def run(self, command: str) -> str:
        """What a command of a manual prints; `nightscan` and `.venv/bin/nightscan` are ours."""
        own = command.replace(".venv/bin/nightscan", "nightscan")
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euc", own], env={**self.process.environment, **self.variables, "PATH": path},
            cwd=BIN.parent.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{own}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with RedisServer(kept=True) as redis, PostgresServer() as postgres:
        (acl,) = blocks(MANUAL, RIGHTS, "redis")
        redis.command(*acl.split())
        redis.command("ACL", "SETUSER", "default", "-@all", "+acl", "+client", "+scan", "+pttl", "+info", "+ping")
        postgres.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        (granting,) = blocks(MANUAL, RIGHTS, "sql")
        for statement in statements(granting):
            postgres.execute(statement)
        variables = _addresses(redis.port, postgres.port)
        with ServerProcess(
            ["serve"], module="frontend.cli.main", environment={**MODEL, **variables}, ready="/ready"
        ) as process:
            wait_well(process)
            for number in range(RECORDINGS):
                recording = sounds.wav(sounds.tone(0.5, pitch_hz=300 + number))
                answer = process.fetch("POST", OPTIMIZED, recording, Content_Type="audio/wav")
                assert answer.status == 200
            wait_sent(process)
            yield Served(process, redis, postgres, variables)


def _addresses(redis_port: int, postgres_port: int) -> dict[str, str]:
    """What the manual exports, with the ports of the tests, and the user that the rights are for."""
    exported = dict(
        line.removeprefix("export ").split("=", 1)
        for block in blocks(HOME_MANUAL, HOME_SECTION, "bash")
        for line in commands(block)
        if line.startswith("export ")
    )
    assert set(exported) == {"REDIS_URL", "DATABASE_URL"}
    return {
        "REDIS_URL": exported["REDIS_URL"].replace("127.0.0.1:6379", f"nightscan:secret@127.0.0.1:{redis_port}"),
        "DATABASE_URL": exported["DATABASE_URL"].replace(":5432", f":{postgres_port}"),
    }


def test_redis_allows_all_that_is_asked_and_is_asked_for_nothing_else(served: Served) -> None:
    wait_for(lambda: len(served.redis.command("SCAN", 0, "COUNT", 1000)[1]) >= RECORDINGS, "the answers are in Redis")
    keys = served.redis.command("SCAN", 0, "COUNT", 1000)[1]
    assert all(key.startswith(b"nightscan:cache:v1:") for key in keys)
    assert all(served.redis.command("PTTL", key) > 0 for key in keys)
    assert served.redis.command("ACL", "LOG") == []
    pool = stats_of(served.process)["connection_pools"]["redis"]
    assert pool["state"] == "ok" and pool["errors"] == 0


def test_every_answer_is_in_postgres_with_no_more_rights_than_the_manual_gives(served: Served) -> None:
    (count,) = served.postgres.rows("SELECT count(*) FROM nightscan_engine.answers", role="postgres")
    assert count == (RECORDINGS,)
    pool = stats_of(served.process)["connection_pools"]["database"]
    assert pool["state"] == "ok" and pool["errors"] == 0


def test_a_reader_gets_the_same_rows_from_postgres_as_from_sqlite(served: Served) -> None:
    (queries,) = blocks(MANUAL, TO_TRY, "sql")
    reader = f"postgresql://biologist:owls@127.0.0.1:{served.postgres.port}/{DATABASE}"
    state_dir = Path(served.process.environment[f"{SETTING}STATE_DIR"])
    archive = sqlite3.connect(f"file:{state_dir}/journal.db?mode=ro", uri=True)
    found = 0
    with psycopg.connect(reader, autocommit=True) as connection:
        connection.execute("SET search_path = nightscan_engine")
        for query in statements(queries):
            query = query.replace("0.8", "0.01").replace("0.4 AND 0.6", "0.01 AND 0.99")
            ours, theirs = archive.execute(query).fetchall(), connection.execute(query.encode()).fetchall()
            assert [len(row) for row in ours] == [len(row) for row in theirs]
            assert sorted(map(str, map(_rounded, ours))) == sorted(map(str, map(_rounded, theirs)))
            found += len(ours)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM answers")
    archive.close()
    assert found > RECORDINGS


def _rounded(row: tuple[object, ...]) -> list[object]:
    """REAL of one is double precision of the other."""
    return [round(float(value), 4) if isinstance(value, float) else value for value in row]


def test_the_commands_of_the_manuals_work_as_they_stand(served: Served) -> None:
    (block,) = blocks(MANUAL, "## Where answers are kept", "bash")
    printed = {command: served.run(command) for command in commands(block)}
    assert printed["nightscan status"].count("Redis pool") == 1
    assert all(printed.values()), [command for command, text in printed.items() if not text]
    (export,) = (text for command, text in printed.items() if " export " in command)
    assert len(export.splitlines()) > RECORDINGS
    _, second = blocks(HOME_MANUAL, HOME_SECTION, "bash")
    for command in commands(second):
        assert served.run(command), command
