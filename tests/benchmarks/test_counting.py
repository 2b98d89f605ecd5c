"""What `benchmarks.steps` counts is what happened, to the call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.counting import CallCount, CallOrder, SystemCallCount, wake_ups
from benchmarks.counting_site.sitecustomize import FOLDER_VARIABLE
from benchmarks.servers import ROOT, engine_of
from benchmarks.workloads import WORKLOADS
from tests.support.wait import wait_for

_SITE = ROOT / "benchmarks" / "counting_site"
_PROGRAM = """
import fcntl, os, sys, threading
lock = threading.Lock()
def step(fd):
    with lock:
        len("")
    lock.acquire()
    lock.release()
    fcntl.flock(fd, fcntl.LOCK_EX)
    fcntl.flock(fd, fcntl.LOCK_UN)
def outer(fd):
    step(fd)
with open(__file__) as itself:
    while sys.stdin.readline():
        outer(itself.fileno())
        os.write(1, b".")
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes one step for each line that it is sent, and answers it with one byte."""
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(_SITE), FOLDER_VARIABLE: str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, str(program)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        take_steps(process, 1)  # it is past its start, and takes the signal
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def take_steps(process: subprocess.Popen[bytes], count: int) -> None:
    assert process.stdin is not None and process.stdout is not None
    for _ in range(count):
        process.stdin.write(b"\n")
        assert process.stdout.read(1) == b"."


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("S")


def test_calls_between_two_signals_are_counted_and_no_others(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    count = CallCount(tmp_path, [child.pid], tmp_path)
    for steps in (3, 5):
        take_steps(child, 2)
        with count.running():
            take_steps(child, steps)
        calls = count.collect([child.pid])
        step = next(function for function in calls.functions if function.name == "step")
        assert step.calls == steps and step.place == "program.py:4"
        assert step.made["<built-in method builtins.len>"] == steps
        assert (calls.lock_takes, calls.flocks) == (2 * steps, 2 * steps)
        assert not [function for function in calls.functions if "sitecustomize" in function.place]


def test_calls_are_listed_in_order_and_nested(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    order = CallOrder(tmp_path, [child.pid], tmp_path)
    with order.running():
        take_steps(child, 2)
    calls = [call for call in order.collect() if call.place.startswith("program.py")]
    assert [call.name for call in calls] == ["outer", "step", "outer", "step"]
    assert [call.depth - calls[0].depth for call in calls] == [0, 1, 0, 1]
    assert {call.pid for call in calls} == {child.pid}


def test_system_calls_are_counted_by_name(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    if not SystemCallCount.is_possible():
        pytest.skip("strace is not installed")
    count = SystemCallCount([child.pid], tmp_path / "strace.txt")
    with count.running():
        take_steps(child, 7)
    found = count.collect()
    assert found["write"] == 7 and found["flock"] == 14 and "total" not in found


def test_a_process_that_waits_for_us_is_woken_as_often(child: subprocess.Popen[bytes]) -> None:
    before = wake_ups([child.pid])
    for _ in range(10):
        wait_for(lambda: is_asleep(child.pid), "the child waits for a line", step_s=0.001)
        take_steps(child, 1)
    assert wake_ups([child.pid]) - before >= 10


def test_the_server_is_started_as_the_checkout_says(tmp_path: Path) -> None:
    server = engine_of(ROOT, counted_in=tmp_path)
    environment = server.environment(WORKLOADS["tiny"], 1, str(tmp_path))
    assert environment["PYTHONPATH"].split(":") == [str(_SITE), str(ROOT)]
    command = [*server.command(1), "--help"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "nightscan serve" in done.stdout, done.stdout + done.stderr
