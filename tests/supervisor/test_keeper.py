"""The keeper: brings the supervisor back, goes with the last master, and is found and ended by whoever needs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine import launch
from engine.core.lifecycle import ExitCode
from engine.errors import ConfigError
from engine.launch import masters
from engine.launch.identity import Identity
from engine.launch.locks import KEEPER_LOCK, SUPERVISOR_LOCK, LockFile, living_holder
from tests.supervisor.engine_process import EngineProcess, ask, ready_pids, serving, wait_serving
from tests.supervisor.load import Load
from tests.support.wait import wait_for


@contextmanager
def master() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for gunicorn's master."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def supervisor_pid(runtime_dir: Path, *, other_than: int = 0) -> int:
    """The pid of the supervisor that runs, once it is not `other_than`."""

    def found() -> int:
        holder = living_holder(runtime_dir / SUPERVISOR_LOCK)
        return holder.pid if holder is not None and holder.pid != other_than else 0

    return wait_for(found, "a supervisor")


def test_a_killed_supervisor_comes_back_and_serving_goes_on(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, program="keeper") as engine, engine.client() as client:
        wait_serving(client)
        instances = ready_pids(client, 2)
        with Load(client, 2) as load:
            pid = supervisor_pid(runtime_dir)
            for _ in range(2):
                os.kill(pid, signal.SIGKILL)
                pid = supervisor_pid(runtime_dir, other_than=pid)
                load.wait_answered(50)
        assert wait_for(lambda: ready_pids(client, 2), "the instances") == instances


def test_it_leaves_with_a_master_that_was_killed(runtime_dir: Path) -> None:
    with master() as first, EngineProcess(runtime_dir, program="keeper", master=first.pid) as engine:
        with engine.client() as client:
            wait_serving(client)
            first.kill()
            assert engine.process is not None
            assert engine.process.wait(15) == 0
            assert engine.pids() == []
        assert not (runtime_dir / "control.sock").exists()


def test_what_a_dead_supervisor_left_goes_with_a_keeper_that_is_told_to_leave(runtime_dir: Path) -> None:
    """Before the next supervisor has met the instances, which would wait for one for a while."""
    with EngineProcess(runtime_dir, program="keeper") as engine:
        with engine.client() as client:
            wait_serving(client)
            ready_pids(client, 2)
        assert engine.process is not None
        engine.process.send_signal(signal.SIGSTOP)
        os.kill(supervisor_pid(runtime_dir), signal.SIGKILL)
        engine.process.terminate()
        engine.process.send_signal(signal.SIGCONT)
        assert engine.process.wait(15) == 0
        wait_for(lambda: not engine.pids(), "the instances to be gone", timeout_s=5.0)  # they wait 10


def test_it_stays_while_another_master_lives(runtime_dir: Path) -> None:
    with (
        master() as old,
        master() as new,
        EngineProcess(runtime_dir, program="keeper", master=old.pid) as engine,
        engine.client() as client,
    ):
        wait_serving(client)
        assert launch.start_keeper(runtime_dir, new.pid) == engine.process.pid  # type: ignore[union-attr]
        old.kill()
        old.wait()
        wait_for(lambda: len(masters.living(runtime_dir)) == 1, "one master to be left")
        assert ask(client, 3.0)[2] == 3.0
        pid = supervisor_pid(runtime_dir)
        os.kill(pid, signal.SIGKILL)
        supervisor_pid(runtime_dir, other_than=pid)
        # Its instances are with the successor, which is told to end next.
        wait_for(lambda: any(each["state"] == "ready" for each in serving(client).get("instances", [])), "instances")
        new.kill()
        assert engine.process is not None
        assert engine.process.wait(15) == 0


def test_without_keeper_and_master_the_supervisor_leaves_by_itself(runtime_dir: Path) -> None:
    with master() as first, EngineProcess(runtime_dir, program="keeper", master=first.pid) as engine:
        with engine.client() as client:
            wait_serving(client)
        engine.kill_supervisor()  # the keeper, here
        assert len(engine.pids()) == 3
        first.kill()
        wait_for(lambda: engine.pids() == [], "everybody to be gone")


def test_a_second_keeper_finds_the_supervisor_that_runs(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, program="keeper") as engine, engine.client() as client:
        wait_serving(client)
        before = supervisor_pid(runtime_dir)
        engine.kill_supervisor()  # the keeper, here
        engine.start()
        wait_for(lambda: living_holder(runtime_dir / KEEPER_LOCK), "the second keeper")
        assert supervisor_pid(runtime_dir) == before
        os.kill(before, signal.SIGKILL)
        supervisor_pid(runtime_dir, other_than=before)
        assert ask(client, 3.0)[2] == 3.0


def test_settings_that_cannot_work_end_the_keeper(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, program="keeper", lane_slots="none") as engine:
        assert engine.process is not None
        assert engine.process.wait(15) == 0
        assert engine.pids() == []


def test_a_second_supervisor_is_refused_by_the_lock(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        assert engine.process is not None
        first = engine.process
        engine.start()
        assert engine.process.wait(15) == ExitCode.LOCKED
        engine.process = first
        assert ask(client, 3.0)[2] == 3.0


def test_a_supervisor_with_settings_that_cannot_work_says_so(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, devices="tpu") as engine:
        assert engine.process is not None
        assert engine.process.wait(15) == ExitCode.BAD_CONFIG


# --- launch ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real keeper and supervisor with nothing to deploy: no instance, no torch."""
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__ENABLED", "false")


@pytest.mark.usefixtures("without_model")
def test_start_and_stop_for_this_process(runtime_dir: Path) -> None:
    pid = launch.start_keeper(runtime_dir, os.getpid())
    assert launch.start_keeper(runtime_dir, os.getpid()) == pid
    assert Identity.of(pid).is_living
    assert os.getsid(pid) == pid
    supervisor = supervisor_pid(runtime_dir)
    assert os.getsid(supervisor) == supervisor
    launch.ensure_keeper(runtime_dir, os.getpid())
    assert supervisor_pid(runtime_dir) == supervisor
    assert launch.stop_keeper(runtime_dir, 15)
    assert not Identity.of(supervisor).is_living
    assert launch.stop_keeper(runtime_dir, 15)


@pytest.mark.usefixtures("without_model")
def test_a_killed_keeper_is_ensured_again_and_adopts_the_supervisor(runtime_dir: Path) -> None:
    pid = launch.start_keeper(runtime_dir, os.getpid())
    supervisor = supervisor_pid(runtime_dir)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not Identity.of(pid).is_living, "the keeper to be gone")
    launch.ensure_keeper(runtime_dir, os.getpid())
    assert supervisor_pid(runtime_dir) == supervisor
    assert launch.stop_keeper(runtime_dir, 15)
    assert not Identity.of(supervisor).is_living


@pytest.mark.usefixtures("without_model")
def test_a_supervisor_of_systemd_is_left_alone(runtime_dir: Path) -> None:
    process = launch.start_supervisor(runtime_dir, {})
    try:
        supervisor_pid(runtime_dir)
        assert launch.start_keeper(runtime_dir, os.getpid()) == 0
        launch.ensure_keeper(runtime_dir, os.getpid())
        process.kill()
        process.wait()
        launch.ensure_keeper(runtime_dir, os.getpid())
        assert living_holder(runtime_dir / KEEPER_LOCK) is None
    finally:
        process.kill()
        process.wait()


def test_a_runtime_directory_must_be_ours(runtime_dir: Path) -> None:
    runtime_dir.chmod(0o777)
    assert launch.prepare_runtime_dir(runtime_dir).stat().st_mode & 0o777 == 0o700
    (runtime_dir / "file").touch()
    with pytest.raises(ConfigError):
        launch.prepare_runtime_dir(runtime_dir / "file")


def test_a_lock_is_one_process_s_and_goes_with_it(runtime_dir: Path) -> None:
    path = runtime_dir / "some.lock"
    lock = LockFile.try_take(path)
    assert lock is not None
    assert LockFile.try_take(path) is None
    holder = living_holder(path)
    assert holder is not None
    assert holder.pid == os.getpid()
    lock.release()
    assert living_holder(path) is None
    program = (
        "import os, sys, pathlib; from engine.launch.locks import LockFile;"
        "LockFile.try_take(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert living_holder(path) is None
    again = LockFile.try_take(path)
    assert again is not None
    again.release()
