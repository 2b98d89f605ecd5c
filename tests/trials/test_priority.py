"""Trials stay out of the way: last for the processor, bounded memory, nothing outlives them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.trials.stage_time import StageTime
from tests.support.wait import wait_for


def run(script: str) -> str:
    """What a process prints that runs `script`."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_stage_is_the_last_to_be_served() -> None:
    told = run(
        "import os; from engine.trials.priority import *; step_back(Share.IDLE)\n"
        "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)\n"
        "import ctypes; print(ctypes.CDLL(None).syscall(252, 1, 0) >> 13)"  # ioprio_get
    )
    assert told.split() == ["19", "True", "3"]


def test_memory_beyond_the_limit_is_refused_and_what_lies_below_is_not() -> None:
    told = run(
        "from engine.trials.priority import limit_memory; limit_memory(600)\n"
        "small = bytearray(300 << 20)\n"
        "try: large = bytearray(600 << 20)\n"
        "except MemoryError: print('refused')"
    )
    assert told.strip() == "refused"


def test_what_children_leave_behind_is_ended_too() -> None:
    told = run(
        "import os, subprocess, sys, time\n"
        "from engine.supervisor.children import adopt_orphans\n"
        "from engine.trials.priority import end_children\n"
        "adopt_orphans()\n"
        "left = 'import os, time\\nif os.fork() == 0:\\n os.setsid(); print(os.getpid(), flush=True); time.sleep(60)'\n"
        "child = subprocess.Popen([sys.executable, '-c', left], stdout=subprocess.PIPE, text=True)\n"
        "orphan = int(child.stdout.readline()); child.wait(); os.kill(orphan, 0)\n"
        "end_children()\n"
        "try: os.kill(orphan, 0)\n"
        "except ProcessLookupError: print('gone')"
    )
    assert told.strip() == "gone"


def test_a_process_whose_parent_is_dead_already_ends_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from engine.trials.priority import die_with_parent; die_with_parent(1 << 22)"],
        timeout=60,
    )
    assert done.returncode == -9


def test_time_in_which_others_had_the_processor_is_not_its_own() -> None:
    core = min(os.sched_getaffinity(0))
    busy = f"import os; os.sched_setaffinity(0, [{core}]); print(1, flush=True)\nwhile True: pass"
    idle = f"from engine.trials.priority import *; step_back(Share.IDLE)\n{busy}"
    with running(idle) as starved, running(busy) as other:
        for process in (starved, other):
            assert process.stdout is not None and process.stdout.readline() == "1\n"
        clock, began = StageTime(), time.monotonic()

        def looked() -> bool:
            clock.note(starved.pid)
            return clock.starved_s > 0.5

        wait_for(looked, "an idle process that starves")
        assert clock.starved_share > 0.5
        assert clock.own_s + clock.starved_s <= time.monotonic() - began + 0.01


def test_a_process_that_is_gone_has_waited_for_nothing() -> None:
    clock = StageTime()
    clock.note(1 << 22)
    assert clock.starved_s == 0.0 and clock.own_s >= 0.0
    assert not Path(f"/proc/{1 << 22}").exists()
