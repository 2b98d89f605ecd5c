"""A setting that is not understood stops the start: one line that names it, and nothing left running."""

from __future__ import annotations

import json
import os
import stat
import sys
import uuid
from pathlib import Path

import pytest

from engine.config import Settings, load_settings
from engine.errors import ConfigError
from engine.launch import prepare_state_dir
from engine.stores import preconditions
from frontend.app import create_app
from tests.serving.servers import GUNICORN, SETTING, run_to_its_end, server
from tests.support.server import ROOT, TOKEN, processes_with

STARTERS = {
    "gunicorn": [sys.executable, "-m", "gunicorn", *GUNICORN],
    "nightscan serve": [sys.executable, "-m", "frontend.cli.main", "serve"],
}
WRONG = {
    "an unknown name": (
        {f"{SETTING}MAX_BATCH_SIZ": "4"},
        f"unknown setting {SETTING}MAX_BATCH_SIZ (environment); did you mean {SETTING}MAX_BATCH_SIZE?",
    ),
    "out of range": (
        {f"{SETTING}WORKER_THREADS": "0"},
        f"worker_threads=0 (environment {SETTING}WORKER_THREADS): must be a whole number from 1 to 256",
    ),
    "of another type": (
        {f"{SETTING}ENABLED": "perhaps"},
        f"enabled=perhaps (environment {SETTING}ENABLED): must be true or false",
    ),
    "another scheme of a store": (
        {f"{SETTING}REDIS_URL": "mongodb://app:hunter2@db/app"},
        f"redis_url=mongodb://***@db/app (environment {SETTING}REDIS_URL): must be a redis, rediss or unix address",
    ),
    "in the file": (
        {"NIGHTSCAN_CONFIG": "config.json"},
        "request_queue_size=-1 (file config.json): must be a whole number from 1 to 1000000",
    ),
}


@pytest.mark.parametrize("starter", STARTERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_the_start_is_refused(starter: str, wrong: str, tmp_path: Path, runtime_dir: Path) -> None:
    given, line = WRONG[wrong]
    (tmp_path / "config.json").write_text(json.dumps({"optimized_serving": {"request_queue_size": -1}}))
    assert refusal(STARTERS[starter], given, tmp_path, runtime_dir) == f"nightscan: {line}\n"


@pytest.mark.parametrize("starter", [*STARTERS, "nightscan engine"])
def test_without_a_place_for_the_journal_the_start_is_refused_and_says_how_to_do_without(
    starter: str, tmp_path: Path, runtime_dir: Path
) -> None:
    command = STARTERS.get(starter) or [sys.executable, "-m", "frontend.cli.main", "engine"]
    told = refusal(command, {f"{SETTING}STATE_DIR": "/proc/nightscan"}, tmp_path, runtime_dir)
    assert told.splitlines()[-1] == (
        f"nightscan: state_dir=/proc/nightscan (environment {SETTING}STATE_DIR): cannot be written: No such file or "
        "directory; name another folder, or keep no journal: journal=off"
    )


@pytest.mark.parametrize("starter", ["gunicorn", "nightscan engine"])
@pytest.mark.parametrize(
    ("name", "address", "why"),
    [
        ("REDIS_URL", "redis://:hunter2@cache:port/0", "a port is a number"),
        ("DATABASE_URL", "postgresql://app:hunter2@db:port/app", "a port is a number"),
        ("DATABASE_URL", "postgresql://app:hunter2@db/app?pool_size=50", "'pool_size' is no parameter"),
    ],
)
def test_an_address_that_nobody_can_use_is_refused_at_the_start_and_not_quoted(
    starter: str, name: str, address: str, why: str, tmp_path: Path, runtime_dir: Path
) -> None:
    command = STARTERS.get(starter) or [sys.executable, "-m", "frontend.cli.main", "engine"]
    told = refusal(command, {f"{SETTING}{name}": address}, tmp_path, runtime_dir).splitlines()[-1]
    assert told.startswith(f"nightscan: {name.lower()}") and why in told and "hunter2" not in told


def test_a_machine_too_busy_to_check_an_address_starts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preconditions, "_LOOK_S", 0.001)
    preconditions.check_store_addresses(load_settings({f"{SETTING}DATABASE_URL": "postgresql://app@db/app"}))
    assert "could not be checked within 0.001 s" in caplog.text


def test_an_application_is_not_made_with_an_address_of_redis_that_is_none() -> None:
    with pytest.raises(ConfigError, match="^redis_url"):
        create_app(Settings(redis_url="redis://cache:port/0"))
    create_app(load_settings({"REDIS_URL": "redis://cache:port/0"}))  # somebody else's, perhaps: ignored


def test_no_place_is_needed_for_no_journal(tmp_path: Path) -> None:
    settings = {"state_dir": "/proc/nightscan", "journal": "off", "enabled": "false"}
    with server(settings, ready="/health") as process:
        assert process.fetch("GET", "/health").status == 200


def test_a_folder_for_the_journal_is_made_and_only_for_its_owner(tmp_path: Path) -> None:
    path = prepare_state_dir(Settings(state_dir=str(tmp_path / "var" / "state")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^state_dir=.*/file/state \(argument\): cannot be .*journal=off$"):
        prepare_state_dir(Settings(state_dir=str(tmp_path / "file" / "state")))


def refusal(command: list[str], given: dict[str, str], directory: Path, runtime_dir: Path) -> str:
    """What a start says that is refused, and leaves nothing behind."""
    token = uuid.uuid4().hex
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCAN")}
    environment |= {TOKEN: token, "PYTHONPATH": str(ROOT), f"{SETTING}RUNTIME_DIR": str(runtime_dir / "run"), **given}
    code, told = run_to_its_end(command, environment, directory)
    assert code != 0
    assert not processes_with(token) and not (runtime_dir / "run").exists()
    return told
