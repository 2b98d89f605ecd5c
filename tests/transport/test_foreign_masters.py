"""Under servers that are not ours: whose end is the engine's, and what a forked process has of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from frontend.host_server import server_pid, was_forked_from
from tests.conformance import sounds
from tests.conformance.conftest import MODEL
from tests.support.server import ROOT, ServerProcess, free_port
from tests.support.wait import wait_for
from tests.transport.prefork import REQUESTS, WORKERS

PREDICT = "/api/optimized/predict"


def test_workers_that_are_recycled_leave_the_engine_running() -> None:
    port = free_port()
    with ServerProcess([str(port)], module="tests.transport.prefork", environment=MODEL, port=port, ready="") as server:

        def predict() -> int:
            return server.fetch("POST", PREDICT, sounds.ONE_SECOND, Content_Type="audio/wav").status

        wait_for(lambda: predict() == 200, "the engine serves", timeout_s=60)
        engine = {pid for pid, command in server.processes().items() if "engine." in command}
        workers: set[str] = set()
        for _ in range(3 * WORKERS * REQUESTS):
            workers.add(server.fetch("GET", "/worker").body.decode())
        assert len(workers) > WORKERS, "every worker was replaced"
        wait_for(lambda: predict() == 200, "a new worker serves")
        assert engine <= server.processes().keys(), "keeper, supervisor and instance are the same"
        server.process.terminate()
        wait_for(lambda: not server.processes(), "the engine ends with the server's master")


def told_in_a_fork(tell: Callable[[], int]) -> int:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str(tell()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        answer = int(told.read())
    os.waitpid(pid, 0)
    return answer


def test_a_forked_worker_names_the_process_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVER_SOFTWARE", raising=False)
    assert told_in_a_fork(server_pid) == os.getpid()
    assert told_in_a_fork(lambda: int(was_forked_from(os.getppid()) is True)) == 1
    assert not was_forked_from(1) and was_forked_from(2**22 + 1) is None


def in_a_program(code: str) -> list[int]:
    variables = {name: value for name, value in os.environ.items() if name != "SERVER_SOFTWARE"}
    command = [sys.executable, "-c", f"import os; from frontend.host_server import server_pid\n{code}"]
    told = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    return [int(word) for word in told.stdout.split()]


def test_a_program_of_its_own_names_itself_even_if_it_will_be_a_server() -> None:
    own, named, as_master, reloaded = in_a_program(
        "print(os.getpid(), server_pid())\n"
        "os.environ['SERVER_SOFTWARE'] = 'gunicorn/23.0.0'\n"  # in the master too, which may serve before it forks
        "print(server_pid())\n"
        "os.environ['WERKZEUG_RUN_MAIN'] = 'true'\n"
        "print(server_pid())"
    )
    assert own == named == as_master and reloaded == os.getpid()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_made_by_multiprocessing_names_its_maker(method: str) -> None:
    pool = f"multiprocessing.get_context('{method}').Pool(1)"
    own, named = in_a_program(f"import multiprocessing; print(os.getpid(), {pool}.apply(server_pid))")
    assert own == named
