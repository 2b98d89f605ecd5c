"""The journal's way to Postgres, with an engine that serves: no request notices, and each answer is there once."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg

from engine.errors import EngineError
from tests.conformance import sounds
from tests.serving.servers import ROUTES, address_of, processes_of, server, status_of
from tests.serving.test_journal import MODEL, SEED, Clients
from tests.services.postgres_pools import counted_sessions, seconds_until
from tests.services.postgres_server import PASSWORD, SUPERUSER, WRITER, PostgresServer
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

OPTIMIZED, _ = ROUTES
MOST = 4
# The whole of it: NIGHTSCAN_JOURNAL_REQUESTS=20000
REQUESTS = int(os.environ.get("NIGHTSCAN_JOURNAL_REQUESTS", "1500"))


def settings_of(postgres: PostgresServer, state_dir: Path, **others: object) -> dict[str, object]:
    """Of a server whose journal goes there."""
    return {
        **MODEL,
        "state_dir": state_dir,
        "database_url": postgres.url(),
        "db_min_connections": 2,
        "db_max_connections": MOST,
        "db_command_timeout": 5,
        **others,
    }


def request_ids(postgres: PostgresServer) -> list[str]:
    """Of all answers that are there, one for each row."""
    try:
        found = postgres.rows("SELECT request_id FROM nightscan_engine.answers", role=SUPERUSER)
    except psycopg.errors.UndefinedTable:
        return []
    return [id for (id,) in found]


def health(process: ServerProcess) -> tuple[str, list[str]]:
    value = address_of(process).get("/api/optimized/health").value
    return value["status"], value.get("reasons", [])


def reasons_have(process: ServerProcess, text: str) -> Callable[[], bool]:
    return lambda: any(text in reason for reason in health(process)[1])


def test_answers_arrive_with_their_windows_and_an_outage_fails_nothing_and_is_over_within_seconds(
    tmp_path: Path,
) -> None:
    with PostgresServer() as postgres, server(settings_of(postgres, tmp_path, workers=2)) as process:
        answers_arrive(process, postgres)
        an_outage_is_over(process, postgres, postgres.kill, postgres.start)
        an_outage_is_over(process, postgres, postgres.freeze, postgres.thaw)


def answers_arrive(process: ServerProcess, postgres: PostgresServer) -> None:
    answer = address_of(process).upload(OPTIMIZED, sounds.wav(sounds.tone(2.5)), "bat.wav")
    id = answer.headers["x-request-id"]
    wait_for(lambda: id in request_ids(postgres), "the row")
    found = postgres.rows(
        "SELECT file, label, probability FROM nightscan_engine.detections WHERE request_id = %s AND segment = 0"
        " ORDER BY probability DESC LIMIT 1", [id],
    )  # fmt: skip
    best = answer.value["segments"][0]["top_predictions"][0]
    assert found == [("bat.wav", best["label"], best["probability"])]
    stats = address_of(process).get("/api/optimized/stats").value
    assert stats["connection_pools"]["database"]["breaker"] == "closed"
    assert PASSWORD not in str(stats)


def an_outage_is_over(
    process: ServerProcess, postgres: PostgresServer, begin: Callable[[], None], end: Callable[[], None]
) -> None:
    address = address_of(process)
    begin()
    wait_for(reasons_have(process, "Postgres does not answer"), "health says why")
    answers = [address.upload(OPTIMIZED, sounds.ONE_SECOND) for _ in range(20)]
    assert [answer.status for answer in answers] == [200] * 20
    assert address.get("/ready").status == 200 and health(process)[0] == "degraded"
    end()
    ids = {answer.headers["x-request-id"] for answer in answers}
    seconds_until(lambda: ids <= set(request_ids(postgres)), at_most_s=20.0)
    wait_for(lambda: health(process)[0] == "healthy", "health is well again")


def test_each_answer_is_in_postgres_once_whoever_is_killed(tmp_path: Path) -> None:
    """Postgres five times and the supervisor twice, at moments left to chance; sessions never more than allowed."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    seen: list[int] = []
    with (
        PostgresServer() as postgres,
        server(settings_of(postgres, tmp_path, workers=2, cache_l1_mb=0)) as process,
    ):
        clients = Clients(process, "postgres", REQUESTS)
        for share, victim in zip(sorted(rng.uniform(0.05, 0.9) for _ in range(7)), "PPSPPSP"):
            wait_for(lambda: len(clients.answered) >= share * REQUESTS, "some answers", timeout_s=100)
            if victim == "S":
                for pid in processes_of(process, "engine.supervisor"):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            else:
                postgres.kill()
                postgres.start()
            with counted_sessions(postgres) as count:
                pause = threading.Event()
                for _ in range(10):
                    seen.append(count())
                    pause.wait(0.05)
        clients.join()
        wait_for(lambda: clients.answered <= set(request_ids(postgres)), "each answer", timeout_s=30)
        found = request_ids(postgres)
        wait_for(lambda: is_whole(process), "the instance has a supervisor, which ends it")
    assert len(found) == len(set(found)) and set(found) <= clients.sent
    assert len(clients.answered) == REQUESTS and max(seen) <= MOST


def is_whole(process: ServerProcess) -> bool:
    """Whether a supervisor answers, and all instances are with it."""
    try:
        deployments = status_of(process)["deployments"]
    except EngineError:
        return False
    versions = [version for each in deployments for version in each["versions"]]  # none while it takes over
    return bool(versions) and all(each["ready"] == each["pool_size"] for each in versions)


def test_a_wrong_password_a_missing_right_and_a_newer_schema_degrade_and_are_told_apart(tmp_path: Path) -> None:
    with (
        PostgresServer() as postgres,
        server(settings_of(postgres, tmp_path, database_url=postgres.url(WRITER))) as process,
    ):
        answer = address_of(process).upload(OPTIMIZED, sounds.ONE_SECOND)
        assert answer.status == 200
        with postgres.connection(SUPERUSER) as owner:
            owner.execute("ALTER ROLE writer PASSWORD 'another'")
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'")
            wait_for(reasons_have(process, "does not let the engine in"), "health says why")
            owner.execute(f"ALTER ROLE writer PASSWORD '{PASSWORD}'".encode())
        wait_for(reasons_have(process, "denies a right"), "health says why")
        # In one transaction: in a schema where it may, the engine would make its tables at once.
        postgres.execute(
            "CREATE SCHEMA nightscan_engine; GRANT ALL ON SCHEMA nightscan_engine TO PUBLIC;"
            " CREATE TABLE nightscan_engine.schema_versions AS SELECT 99 AS version;"
            " GRANT SELECT ON nightscan_engine.schema_versions TO PUBLIC"
        )
        wait_for(reasons_have(process, "newer version"), "health says why")
        assert address_of(process).get("/ready").status == 200
