"""A comparison goes on when servers fail, says why, and leaves nothing of them behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rivals.plans import ROOT
from benchmarks.rivals.results import Results, read_results
from benchmarks.rivals.table import table


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[int]]:
    """What was found, and which processes were left."""
    file = tmp_path_factory.mktemp("compared") / "results.json"
    command = [sys.executable, "-m", "tests.benchmarks.rivals_program", str(file)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return read_results(file), json.loads(done.stdout)["left"]


def test_who_answers_right_has_a_row_for_each_round_and_concurrency(compared: tuple[Results, list[int]]) -> None:
    results, _ = compared
    assert [(row.server, row.concurrency, row.round) for row in results.rows] == [
        ("flask", concurrency, 1) for concurrency in (2, 4)
    ]
    for row in results.rows:
        assert row.requests_per_s > 1
        assert row.errors == 0
        assert 0 < row.p50_ms <= row.p99_ms
        assert row.pss_mb > 10
        assert row.first_200_s > 0
        assert math.isfinite(row.cpu_ms_per_request)
        assert row.difference < 1e-5


@pytest.mark.parametrize(
    ("server", "reason"),
    (
        ("mosec", "ended with 1: out of luck"),
        ("triton", "a probability is off by"),
        ("bentoml", "not installed: no such thing"),
        ("torchserve", "no archive"),
    ),
)
def test_who_fails_is_told_of_with_the_reason(compared: tuple[Results, list[int]], server: str, reason: str) -> None:
    results, _ = compared
    assert reason in results.left_out[f"{server}@tiny"]
    assert any(line.startswith(f"| {server} | did not take part") for line in table(results).splitlines())


def test_nothing_is_left_of_a_server_that_does_not_want_to_end(compared: tuple[Results, list[int]]) -> None:
    _, left = compared
    assert left == []


def test_an_interrupt_ends_all_of_a_server_that_does_not_want_to() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.interrupted_program"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=ignore_interrupts,
    ) as process:
        assert process.stdout is not None
        started = list(map(int, process.stdout.readline().split()))
        assert len(started) == 2
        process.terminate()
        assert process.stdout.readline() == "left:\n"
        assert process.wait(60) == 0
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def ignore_interrupts() -> None:
    """As a shell does for what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
