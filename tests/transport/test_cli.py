"""The commands that need no running server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import Settings
from frontend.cli.app_command import app_command
from tests.support.server import ROOT


def nightscan(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCAN")}
    command = [sys.executable, "-m", "frontend.cli.main", *arguments]
    return subprocess.run(
        command, env={**environment, **variables}, cwd=ROOT, capture_output=True, text=True, timeout=100
    )


def test_config_tells_where_each_value_is_from() -> None:
    shown = nightscan("config", NIGHTSCAN_OPTIMIZED_SERVING__WORKERS="3").stdout
    [workers] = [line for line in shown.splitlines() if line.startswith("workers ")]
    assert workers.split()[1] == "3" and "NIGHTSCAN_OPTIMIZED_SERVING__WORKERS" in workers


@pytest.mark.parametrize("command", ["config", "serve", "status"])
def test_a_wrong_setting_is_one_line(command: str) -> None:
    told = nightscan(command, NIGHTSCAN_OPTIMIZED_SERVING__WORKERS="many")
    assert told.returncode == 2
    assert "many" in told.stderr and told.stderr.count("\n") == 1


def test_without_an_engine_the_commands_say_so(runtime_dir: Path) -> None:
    for arguments in (["scale", "x", "2"], ["undeploy", "x"], ["deploy", "--demo"]):
        told = nightscan("--runtime-dir", str(runtime_dir), *arguments)
        assert (told.returncode, told.stderr.count("\n")) == (3, 1)
        assert "no supervisor listens" in told.stderr


def test_an_app_that_cannot_be_imported_is_one_line() -> None:
    told = nightscan("serve", "no_such_module:app")
    assert told.returncode == 2 and "no_such_module" in told.stderr and "Traceback" not in told.stderr


def test_what_an_applications_configuration_says_reaches_the_engine_that_serve_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TUNING", "STATUS_PORT"):  # what every test has set
        monkeypatch.delenv(f"NIGHTSCAN_OPTIMIZED_SERVING__{name}", raising=False)
    environment, command = app_command(Settings(), "tests.transport.configured_host:app", ["-w", "1"])
    assert environment == {"NIGHTSCAN_OPTIMIZED_SERVING__MODEL_POOL_SIZE": "2"}
    assert command[-3:] == ["-w", "1", "tests.transport.configured_host:app"] and "gthread" in command


def test_the_demo_needs_nothing_and_has_its_five_parts() -> None:
    shown = nightscan("demo")
    assert shown.returncode == 0, shown.stderr
    assert "whole" in shown.stdout and "0.0-3.0 s" in shown.stdout
    titles = [line for line in shown.stdout.splitlines() if line[:1].isdigit() and line[1:3] == ". "]
    assert [title[3:].split()[0] for title in titles] == ["Single", "Batches:", "Connection", "Benchmark;", "The"]
    assert "64 requests, 16 at once" in shown.stdout and "in batches of" in shown.stdout
    assert "not configured" in shown.stdout and "100 requests, 10 at a time" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
