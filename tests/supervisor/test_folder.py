"""A runtime directory that is full, read-only, in the way, or gone: what serves goes on, what is missing comes back."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from engine.client import admin
from engine.client import EngineClient
from engine.core.lifecycle import ExitCode
from engine.errors import EngineError, StateNotWritten
from engine.launch import masters
from engine.launch.locks import KEEPER_LOCK, SUPERVISOR_LOCK, living_holder
from engine.messages import sealed_memfd
from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.cli.view import status_view
from tests.supervisor.engine_process import (
    EngineProcess,
    ask,
    deploy,
    ready_pids,
    refused,
    spec,
    status,
    wait_serving,
)
from tests.supervisor.failing_engine import health, is_well
from tests.supervisor.load import Load
from tests.support.wait import wait_for


def supervisor_pid(engine: EngineProcess) -> int:
    assert engine.process is not None
    return engine.process.pid


@contextmanager
def in_the_way(engine: EngineProcess) -> Iterator[None]:
    """A directory has the name of the file that the state is written to."""
    (engine.runtime_dir / "state.new").mkdir()
    yield
    (engine.runtime_dir / "state.new").rmdir()


@contextmanager
def limited(engine: EngineProcess, kind: int, value: int) -> Iterator[None]:
    pid = supervisor_pid(engine)
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (value, before[1]))
    yield
    resource.prlimit(pid, kind, before)


def no_room(engine: EngineProcess) -> AbstractContextManager[None]:
    """No file of the supervisor's can grow, as on a disk that is full."""
    return limited(engine, resource.RLIMIT_FSIZE, 0)


@contextmanager
def mounted(path: Path) -> Iterator[bool]:
    """A file system of 64 KB of its own, where this user may mount one; whether it is there."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(path)], check=False, capture_output=True
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def full(engine: EngineProcess) -> Iterator[None]:
    """Filled to the last byte."""
    filler = engine.runtime_dir / "filler"
    with open(filler, "wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"x" * 1024)
    yield
    filler.unlink()


@contextmanager
def read_only(engine: EngineProcess) -> Iterator[None]:
    """Nothing can be written under its name: the same directory, mounted over itself."""
    path = str(engine.runtime_dir)
    subprocess.run(["mount", "--bind", path, path], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
    yield
    subprocess.run(["umount", "-l", path], check=True)


Trouble = Callable[[EngineProcess], AbstractContextManager[None]]


def serves_on(engine: EngineProcess, client: EngineClient, trouble: Trouble) -> None:
    """With `trouble`: a frontend comes and one dies, orders are refused by name, status says so; then all heals."""
    pids = ready_pids(client, 2)
    with Load(client, 1) as load:
        with trouble(engine):
            with engine.client() as second, engine.frontend():
                assert ask(second, 3.0)[2] == 3.0
            error = refused(client, "deploy", deployment="new", spec=spec("echo"), options={})
            assert isinstance(error, StateNotWritten)
            assert status(client, "new") == {}
            error = refused(client, "scale", deployment=DEFAULT_DEPLOYMENT_ID, pool_size=1)
            assert isinstance(error, StateNotWritten)
            found = health(client)
            assert found["state"] == "degraded"
            assert {each["step"] for each in found["troubles"]} == {"Ledger.write"}, found
            assert "degraded: Ledger.write: " in status_view({"health": found})
            load.wait_answered(20)
        wait_for(lambda: is_well(client), "it to heal")
        assert health(client)["recent"][-1]["step"] == "Ledger.write"
    assert supervisor_pid(engine) and engine.process is not None and engine.process.poll() is None
    assert ready_pids(client, 2) == pids


def test_a_state_that_cannot_be_written_costs_only_the_orders(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, tracebacks=True) as engine, engine.client() as client:
        wait_serving(client)
        ready_pids(client, 2)
        for trouble in (in_the_way, no_room):
            serves_on(engine, client, trouble)
        assert deploy(client, "echo", "new") == 1


def test_a_full_or_read_only_file_system_costs_only_the_orders(runtime_dir: Path) -> None:
    with mounted(runtime_dir) as is_mounted:
        with EngineProcess(runtime_dir, tracebacks=True) as engine, engine.client() as client:
            wait_serving(client)
            ready_pids(client, 2)
            for trouble in (full, read_only) if is_mounted else (no_room,):
                serves_on(engine, client, trouble)


def test_without_descriptors_the_supervisor_waits_for_some_and_does_not_spin(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, tracebacks=True) as engine, engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        folder = Path(f"/proc/{supervisor_pid(engine)}/fd")
        with Load(client, 1):
            with limited(engine, resource.RLIMIT_NOFILE, len(list(folder.iterdir()))):
                with pytest.raises(EngineError), engine.client(wait_s=1.0):
                    pass
                troubles = health(client)["troubles"]
                accept = next(each for each in troubles if each["step"] == "Listener._accept")
                assert accept["count"] < 20
            with engine.client() as second:
                assert ask(second, 3.0)[2] == 3.0
            wait_for(lambda: is_well(client), "it to heal")
        assert ready_pids(client, 2) == pids


def remove(folder: Path) -> None:
    """All of it at once: what its owner puts back meanwhile would be in the way of a removal file by file."""
    aside = folder.with_name(f"{folder.name}.removed")
    folder.rename(aside)
    shutil.rmtree(aside)


def test_a_folder_that_was_removed_is_made_again_around_what_serves(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, tracebacks=True) as engine, engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        with Load(client, 1):
            remove(runtime_dir)
            with engine.client() as second:
                assert ask(second, 3.0)[2] == 3.0
            holder = wait_for(lambda: living_holder(runtime_dir / SUPERVISOR_LOCK), "the lock")
            assert holder is not None and holder.pid == supervisor_pid(engine)
            wait_for((runtime_dir / "state.json").exists, "the state")
            assert runtime_dir.stat().st_mode & 0o777 == 0o700
            assert {each.stat().st_mode & 0o777 for each in runtime_dir.iterdir()} == {0o600}
            engine.kill_supervisor()
            engine.start()
            assert ready_pids(client, 2) == pids


def test_a_second_supervisor_finds_the_first_though_its_lock_was_removed(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir) as engine, engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        first = engine.process
        assert first is not None
        first.send_signal(signal.SIGSTOP)  # or it would have its lock back
        shutil.rmtree(runtime_dir)
        engine.start()
        assert engine.process is not None
        assert engine.process.wait(15) == ExitCode.LOCKED
        first.send_signal(signal.SIGCONT)
        engine.process = first
        wait_for(lambda: living_holder(runtime_dir / SUPERVISOR_LOCK), "the lock")
        assert ready_pids(client, 2) == pids


def test_a_keeper_whose_folder_was_removed_still_revives_the_supervisor(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, program="keeper") as engine, engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        holder = living_holder(runtime_dir / SUPERVISOR_LOCK)
        assert holder is not None
        with Load(client, 1):
            remove(runtime_dir)
            wait_for(lambda: living_holder(runtime_dir / KEEPER_LOCK), "the keeper's lock")
            wait_for(lambda: living_holder(runtime_dir / SUPERVISOR_LOCK), "the supervisor's lock")
            wait_for((runtime_dir / "state.json").exists, "the state")
            assert [each.pid for each in masters.living(runtime_dir)] == [os.getpid()]
            os.kill(holder.pid, signal.SIGKILL)
            assert ready_pids(client, 2) == pids


def test_a_supervisor_that_cannot_start_leaves_the_instances_to_one_that_can(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, tracebacks=True) as engine, engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        with Load(client, 1) as load:
            engine.kill_supervisor()
            (runtime_dir / SUPERVISOR_LOCK).unlink()
            (runtime_dir / SUPERVISOR_LOCK).mkdir()
            engine.start()
            assert engine.process is not None
            assert engine.process.wait(15) == ExitCode.NO_LOCK
            (runtime_dir / SUPERVISOR_LOCK).rmdir()
            (runtime_dir / "control.sock.new").mkdir()
            engine.start()
            wait_for(lambda: living_holder(runtime_dir / SUPERVISOR_LOCK), "a supervisor that does not listen")
            load.wait_answered(200)
            (runtime_dir / "control.sock.new").rmdir()
            assert ready_pids(client, 2) == pids
            wait_for(lambda: is_well(client), "it to heal")


@pytest.mark.parametrize("standard", ["closed", "full"])
def test_a_log_that_cannot_be_written_stops_nobody(runtime_dir: Path, standard: str) -> None:
    arguments = [sys.executable, "-m", "engine.supervisor", "--runtime-dir", str(runtime_dir)]
    settings = {**os.environ, "NIGHTSCAN_OPTIMIZED_SERVING__ENABLED": "false"}
    with open("/dev/full", "w") as full_device:
        process = subprocess.Popen(
            [sys.executable, "-c", _CLOSING, *arguments] if standard == "closed" else arguments,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=full_device,
            stderr=full_device,
        )
    try:
        wait_for((runtime_dir / "control.sock").exists, "the engine to listen")
        assert admin.ask(str(runtime_dir), "status", timeout_s=20)["health"]["state"] == "ok"
        standing = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (1, 2)}
        assert standing == {"/dev/null" if standard == "closed" else "/dev/full"}
    finally:
        process.terminate()
        assert process.wait(15) == 0


_CLOSING = "import os, sys; [os.close(fd) for fd in (0, 1, 2)]; os.execv(sys.argv[1], sys.argv[1:])"


def test_a_state_file_that_is_nonsense_is_said_and_started_without(runtime_dir: Path) -> None:
    (runtime_dir / "state.json").write_bytes(b"{")
    with EngineProcess(runtime_dir, enabled=False, tracebacks=True) as engine, engine.client() as client:
        wait_for(lambda: is_well(client), "it to be well")
        assert health(client)["recent"][0]["step"] == "Ledger.read"


def test_a_factory_that_a_cleaner_removed_is_put_back_and_loaded(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir) as engine, engine.client() as client:
        wait_serving(client)
        memfd = sealed_factory()
        options = {"pool_size": 1}
        order = {"deployment": "new", "spec": {"source": "pickle"}, "options": options}
        client.request("deploy", timeout_s=30, fds=[memfd], **order)
        os.close(memfd)
        factory = next((runtime_dir / "factories").iterdir())
        factory.unlink()
        before = ready_pids(client, 1, "new")
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: ready_pids(client, 1, "new") != before, "another instance")
        wait_for(factory.exists, "the file")


def sealed_factory() -> int:
    return sealed_memfd("factory", b"echo")


def test_the_thread_that_revives_the_engine_outlives_whatever_it_meets(engine: EngineProcess) -> None:
    calls, fails = threading.Semaphore(0), threading.Event()

    def ensure() -> None:
        if fails.is_set():
            calls.release()
            raise FileNotFoundError("the folder is gone")

    client = EngineClient.attach(
        runtime_dir=str(engine.runtime_dir), wait_s=30, settings=engine.settings, ensure=ensure
    )
    try:
        wait_serving(client)
        fails.set()
        engine.kill_supervisor()
        for _ in range(2):
            assert calls.acquire(timeout=20)
        assert ask(client, 3.0)[2] == 3.0
        engine.start()
        wait_for(lambda: is_well(client), "a supervisor")
    finally:
        client.close()
