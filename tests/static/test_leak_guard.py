"""The guard around every test sees what was started, wherever below it."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.support.leaks import LeakGuard, descendants
from tests.support.wait import wait_for


def test_a_child_of_a_thread_and_its_own_child_are_seen_until_they_are_gone() -> None:
    guard = LeakGuard.now()
    with ThreadPoolExecutor(1) as another_thread:
        command = ["sh", "-c", "sleep 60 & echo; wait"]
        with another_thread.submit(subprocess.Popen, command, stdout=subprocess.PIPE).result() as shell:
            assert shell.stdout is not None and shell.stdout.readline()
            (sleeping,) = psutil.Process(shell.pid).children()
            assert {shell.pid, sleeping.pid} <= descendants()
            assert {f"child process {shell.pid}", f"child process {sleeping.pid}"} <= set(guard.leaked())
            sleeping.kill()
        wait_for(lambda: not descendants() & {shell.pid, sleeping.pid}, "both are gone")
