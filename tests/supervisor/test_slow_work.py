"""A disk that hangs holds up what is written to it, and nothing else."""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.errors import QueueFull, StateNotWritten
from engine.messages import Connection, connect
from engine.spec import DEFAULT_DEPLOYMENT_ID
from engine.supervisor.loop import Loop
from engine.supervisor.slow_work import MOST_JOBS, THREAD_NAME, SlowWork
from tests.support.stopped_thread import stopped
from tests.support.wait import wait_for
from tests.supervisor.engine_process import EngineProcess, ask, deploy, ready_pids, refused, spec, status
from tests.supervisor.failing_engine import health, is_well


def slow_thread(engine: EngineProcess) -> int:
    """The thread of the supervisor that writes."""
    assert engine.process is not None
    tasks = Path(f"/proc/{engine.process.pid}/task")
    (found,) = [each for each in tasks.iterdir() if (each / "comm").read_text() == f"{THREAD_NAME}\n"]
    return int(found.name)


def written(engine: EngineProcess) -> dict[str, Any]:
    """What the state file says of each deployment."""
    found = json.loads((engine.runtime_dir / "state.json").read_text())["deployments"]
    return {each["deployment"]: each for each in found}


def test_a_disk_that_hangs_costs_only_the_orders(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, tracebacks=True) as engine, engine.client() as client:
        before = ready_pids(client, 2)
        with stopped(slow_thread(engine)):
            error = refused(client, "deploy", deployment="new", spec=spec("echo"), options={})
            assert isinstance(error, StateNotWritten)
            assert "has not answered" in str(error)
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda: before[0] not in ready_pids(client, 2), "another instance in its place")
            with engine.client() as second, engine.frontend():
                assert ask(second, 3.0)[2] == 3.0
            assert status(client, "new") == {}
            found = health(client)
            assert found["state"] == "degraded"
            assert {each["step"] for each in found["troubles"]} == {"Ledger.write"}
        wait_for(lambda: is_well(client), "it to heal")
        wait_for(lambda: "new" not in written(engine), "the order that was refused to be gone from the state")
        assert deploy(client, "echo", "new") == 1
        assert written(engine)["new"]["newest"] == 1


def test_orders_wait_for_the_disk_and_are_carried_out_in_turn(engine: EngineProcess) -> None:
    with engine.client() as client, closing(connect(engine.runtime_dir)) as connection:
        ready_pids(client, 2)
        with stopped(slow_thread(engine)):
            for number, (op, name) in enumerate((("deploy", "new"), ("undeploy", "new"), ("deploy", "newer"))):
                order = {"op": op, "deployment": name, "spec": spec("echo"), "options": {}}
                connection.send({"type": "request", "id": number, **order})
            connection.send({"type": "request", "id": 3, "op": "status"})
            status_before = answer(connection)
            assert status_before["id"] == 3
            assert [each["deployment"] for each in status_before["deployments"]] == [DEFAULT_DEPLOYMENT_ID]
            assert written(engine).keys() == {DEFAULT_DEPLOYMENT_ID}
        answers = {each["id"]: each["ok"] for each in (answer(connection) for _ in range(3))}
        assert answers == {0: False, 1: True, 2: True}  # the first was taken back before it served
        assert ask(client, 3.0, "newer")[2] == 3.0
        wait_for(lambda: written(engine).keys() == {DEFAULT_DEPLOYMENT_ID, "newer"}, "the state")


def answer(connection: Connection) -> dict[str, Any]:
    """The next message; nobody here has any descriptor coming."""
    while (received := connection.receive()) is None:
        assert select.select([connection], [], [], 20)[0]
    return received[0]


# --- the parts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def slow_work(loop: Loop) -> Iterator[SlowWork]:
    made = SlowWork(loop)
    yield made
    made.close()


def run_until(loop: Loop, condition: Callable[[], object]) -> None:
    def look() -> None:
        if condition():
            loop.stop()
        else:
            loop.call_after(0.002, look)

    loop.call_after(0.0, look)
    loop.call_after(20.0, loop.stop)
    loop.run()
    assert condition()


def test_calls_of_many_threads_all_reach_the_loop(loop: Loop) -> None:
    got: list[tuple[int, int]] = []

    def call(number: int) -> None:
        for turn in range(2000):
            assert loop.call_soon_threadsafe(functools.partial(got.append, (number, turn)))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    run_until(loop, lambda: len(got) == 8000)
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [turn for who, turn in got if who == number] == list(range(2000))


def test_a_call_that_fails_is_repeated_and_one_to_a_closed_loop_is_refused(loop: Loop) -> None:
    tries: list[threading.Thread] = []

    def fail_twice() -> None:
        tries.append(threading.current_thread())
        if len(tries) < 3:
            raise ZeroDivisionError

    threading.Thread(target=loop.call_soon_threadsafe, args=(fail_twice,)).start()
    run_until(loop, lambda: len(tries) == 3)
    assert set(tries) == {threading.main_thread()}
    loop.close()
    assert not loop.call_soon_threadsafe(fail_twice)


def test_jobs_run_in_order_elsewhere_and_are_told_of_in_the_loop(loop: Loop, slow_work: SlowWork) -> None:
    told: list[object] = []
    ran: list[threading.Thread] = []

    def job(number: int) -> int:
        ran.append(threading.current_thread())
        if number == 2:
            raise FileNotFoundError("two")
        return number

    for number in range(5):
        slow_work.submit(functools.partial(job, number), told.append, told.append)
    run_until(loop, lambda: len(told) == 5)
    assert [str(each) for each in told] == ["0", "1", "two", "3", "4"]
    assert isinstance(told[2], FileNotFoundError)
    assert len(set(ran)) == 1 and threading.main_thread() not in ran
    assert slow_work.busy_s == 0.0


def test_a_job_that_is_to_succeed_is_repeated_and_status_tells_of_it(loop: Loop, slow_work: SlowWork) -> None:
    tries: list[int] = []

    def job() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise FileNotFoundError

    slow_work.attempt(job)
    run_until(loop, lambda: loop.guard.health.degraded)
    run_until(loop, lambda: not loop.guard.health.degraded)
    assert len(tries) == 3


def test_behind_a_job_that_hangs_a_bounded_number_waits_and_the_end_does_not(loop: Loop) -> None:
    """A pipe that nobody writes to is a job that hangs until it is closed."""
    slow_work = SlowWork(loop)
    reader, writer = os.pipe()
    slow_work.submit(functools.partial(os.read, reader, 1), bool, bool)
    wait_for(lambda: slow_work.busy_s > 0, "the job to be begun")
    for _ in range(MOST_JOBS):
        slow_work.submit(int, bool, bool)
    with pytest.raises(QueueFull):
        slow_work.submit(int, bool, bool)
    slow_work.close()
    thread = slow_work._thread
    assert thread.is_alive()
    loop.close()  # what it reports from now on goes nowhere
    os.close(writer)
    wait_for(lambda: slow_work._jobs.empty(), "the jobs to be done")
    slow_work.close()
    assert not thread.is_alive()
    os.close(reader)
