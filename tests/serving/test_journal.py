"""Every answer that a client receives is one row of the journal, whoever is killed when."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from engine.stores.archive_schema import database_path
from tests.conformance import sounds
from tests.routes.test_fallback import OriginalServer, original
from tests.services.postgres_server import PostgresServer
from tests.serving.servers import ROUTES, address_of, processes_of, server
from tests.support.http import ConnectionEnded
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

__all__ = ["original"]  # a fixture

OPTIMIZED, LEGACY = ROUTES
MODEL = {"model_factory": "tests.conformance.model:loud_parts", "model_pool_size": 1, "model_warmup_requests": 1}
# The whole of it: NIGHTSCAN_JOURNAL_REQUESTS=20000
REQUESTS = int(os.environ.get("NIGHTSCAN_JOURNAL_REQUESTS", "1500"))
SEED = int(os.environ.get("NIGHTSCAN_STRESS_SEED", str(random.randrange(1 << 30))))
CLIENTS = 8


def rows(state_dir: Path) -> list[dict[str, Any]]:
    """All answers of the archive, by their fields."""
    if not database_path(state_dir).exists():
        return []
    with closing(sqlite3.connect(database_path(state_dir))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM answers ORDER BY time, id")]


def row_with(state_dir: Path, request_id: str) -> dict[str, Any]:
    """The one row of a request."""

    def found() -> list[dict[str, Any]]:
        return [row for row in rows(state_dir) if row["request_id"] == request_id]

    (row,) = wait_for(found, f"the row of {request_id}")
    return row


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    state_dir = tmp_path_factory.mktemp("state")
    with server({**MODEL, "workers": 2, "state_dir": state_dir, "cache_l1_mb": 16}) as process:
        yield process, state_dir


@pytest.mark.parametrize("route", ROUTES)
def test_an_answer_is_a_row(served: tuple[ServerProcess, Path], route: str) -> None:
    process, state_dir = served
    recording = sounds.wav(sounds.tone(2.5))
    answer = address_of(process).upload(f"{route}?priority=3", recording, "night in june.wav")
    assert answer.status == 200
    row = row_with(state_dir, answer.headers["x-request-id"])
    shown = ("route", "status", "outcome", "file", "size_bytes", "duration_s", "client", "error_code")
    expected = ("optimized" if route == OPTIMIZED else "legacy", 200, "ok", "night in june.wav", len(recording), 2.5)
    assert tuple(row[name] for name in shown) == (*expected, "127.0.0.1", "")
    assert row["deployment"] and row["model_version"] and 0 < row["latency_s"] < 60
    segments = json.loads(row["segments"])
    assert [segment[0] for segment in segments] == list(range(len(segments))) and len(segments) >= 1
    assert all(len(top) == 5 for _, _, _, top in segments)
    value = answer.value
    first = value["segments"][0]["top_predictions"] if isinstance(value, dict) else value[0]["predictions"]
    assert [[each["label"], each["probability"]] for each in first[:3]] == segments[0][3][:3]


def test_an_answer_from_the_cache_is_a_row_too(served: tuple[ServerProcess, Path]) -> None:
    process, state_dir = served
    recording = sounds.wav(sounds.tone(1.0, pitch_hz=611))
    answers = [address_of(process).upload(OPTIMIZED, recording, f"{number}.wav") for number in range(4)]
    found = [row_with(state_dir, answer.headers["x-request-id"]) for answer in answers]
    assert [row["file"] for row in found] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert len({row["segments"] for row in found}) == 1
    assert (found[0]["cache"], {row["cache"] for row in found[1:]}) == ("", {"l1"})


def test_a_refusal_is_no_row(served: tuple[ServerProcess, Path]) -> None:
    process, state_dir = served
    address = address_of(process)
    refused = [address.upload(route, b"no sound", "x.wav") for route in ROUTES]
    answered = address.upload(OPTIMIZED, sounds.ONE_SECOND)
    row_with(state_dir, answered.headers["x-request-id"])
    ids = {row["request_id"] for row in rows(state_dir)}
    assert all(answer.status >= 400 and answer.headers["x-request-id"] not in ids for answer in refused)


def test_what_goes_wrong_with_us_is_a_row(tmp_path: Path, original: OriginalServer) -> None:
    settings = {"enabled": "false", "original_api_url": original.url, "state_dir": tmp_path}
    with server(settings, ready="/health") as process:
        answered, refused = [address_of(process).upload(route, sounds.ONE_SECOND) for route in (LEGACY, OPTIMIZED)]
        assert (answered.status, refused.status) == (200, 503)
    done = json.loads(export(tmp_path))
    assert [(row["outcome"], row["status"], row["error_code"]) for row in done] == [
        ("fallback", 200, "NOT_READY"),
        ("error", 503, "NOT_READY"),
    ]
    assert [row["request_id"] for row in done] == [answered.headers["x-request-id"], refused.headers["x-request-id"]]


def test_without_a_journal_nothing_is_written(tmp_path: Path) -> None:
    with server({**MODEL, "journal": "off", "state_dir": tmp_path / "state"}) as process:
        assert address_of(process).upload(OPTIMIZED, sounds.ONE_SECOND).status == 200
    kept = {entry.name for entry in (tmp_path / "state").iterdir()}
    assert kept <= {"tuning"}  # what was learnt of the model


def test_what_was_recorded_at_the_end_is_there_at_the_next_start(tmp_path: Path) -> None:
    with server({**MODEL, "state_dir": tmp_path}) as process:
        ids = [address_of(process).upload(OPTIMIZED, sounds.ONE_SECOND).headers["x-request-id"] for _ in range(5)]
    assert [row["request_id"] for row in json.loads(export(tmp_path))] == ids


# --- kills ----------------------------------------------------------------------------------------------------------


class Clients:
    """Send requests with ids of their own until there were enough; whoever loses its connection makes another."""

    def __init__(self, process: ServerProcess, name: str, requests: int) -> None:
        self.sent: set[str] = set()
        self.answered: set[str] = set()  # 200, complete
        self._process = process
        self._name = name
        self._numbers = iter(range(requests))
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    @property
    def share(self) -> float:
        """Of the requests that were answered, of all there will be."""
        return 1.0 if not any(thread.is_alive() for thread in self._threads) else len(self.answered) / REQUESTS

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _run(self) -> None:
        body = sounds.ONE_SECOND
        connection = None
        while not self._ended.is_set():
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                break
            id = f"{self._name}-{number}"
            self.sent.add(id)
            try:
                connection = connection or self._process.connect(timeout_s=20)
                fields = {"Content-Type": "audio/wav", "X-Request-ID": id}
                response = connection.request("POST", OPTIMIZED, body, fields)
            except (OSError, ConnectionEnded):
                response = None
            if response is not None and response.status == 200:
                self.answered.add(id)
            if response is None or response.closes:
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()


def test_each_answer_is_one_row_whoever_is_killed(tmp_path: Path) -> None:
    """Postgres five times, supervisor and a frontend twice each, then all at once: rows without an answer are only of
    what was in flight when a frontend was killed."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    settings: dict[str, object] = {**MODEL, "workers": 3, "state_dir": tmp_path, "cache_l1_mb": 0}
    with PostgresServer() as postgres:
        settings["database_url"] = postgres.url()
        with server(settings) as process:
            clients = Clients(process, "first", REQUESTS)
            victims = ["frontend", "supervisor"] * 2 + ["postgres"] * 5
            rng.shuffle(victims)
            for number, victim in enumerate(victims):
                share = 0.8 * (number + rng.random()) / len(victims)
                wait_for(lambda: clients.share >= share, f"{share:.0%} of the answers", timeout_s=200)
                kill(victim, process, postgres, rng)
            wait_for(lambda: clients.share >= 0.9, "most of the answers", timeout_s=100)
            os.kill(process.pid, signal.SIGSTOP)  # it must not start others
            kill_all([*process.processes(), process.pid])
            clients.stop()
        postgres.recover()
        with server(settings) as process:
            later = Clients(process, "later", 200)
            later.join()
            answered = clients.answered | later.answered
            wait_for(lambda: answered <= set(sent(postgres)), "the rows of all answers in Postgres", timeout_s=60)
            wait_for(lambda: len(sent(postgres)) == len(rows(tmp_path)), "all rows in Postgres", timeout_s=30)
        in_postgres = sent(postgres)
    found = [row["request_id"] for row in json.loads(export(tmp_path))]
    assert len(found) == len(set(found)), "a row twice"
    assert answered <= set(found), f"answers without a row: {sorted(answered - set(found))[:5]}"
    assert len(set(found) - answered) <= 3 * CLIENTS, "more rows without an answer than were in flight at the kills"
    assert sorted(in_postgres) == sorted(found), "Postgres has other rows than the archive"
    assert len(later.answered) == 200 and len(clients.answered) > REQUESTS // 2


def sent(postgres: PostgresServer) -> list[str]:
    """Request ids of the rows in Postgres."""
    return [id for (id,) in postgres.rows("SELECT request_id FROM nightscan_engine.answers")]


def kill(victim: str, process: ServerProcess, postgres: PostgresServer, rng: random.Random) -> None:
    """One of them, with SIGKILL."""
    if victim == "postgres":
        postgres.recover()  # from the last time
        postgres.kill()
        return
    pids = processes_of(process, "engine.supervisor") if victim == "supervisor" else process.workers()
    kill_all(rng.sample(pids, min(1, len(pids))))


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def export(state_dir: Path) -> str:
    """All rows as JSON, by the command."""
    environment = {**os.environ, "NIGHTSCAN_OPTIMIZED_SERVING__STATE_DIR": str(state_dir)}
    command = [sys.executable, "-m", "frontend.cli.main", "journal", "export", "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
