"""How programs start and stop the engine: the keeper for gunicorn, the bare supervisor for everybody else.

Without torch, and cheap to import.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.errors import NotReady
from engine.launch import masters
from engine.launch.identity import Identity, send_signal, wait_dead
from engine.launch.locks import KEEPER_LOCK, SUPERVISOR_LOCK, last_holder, living_holder, locked
from engine.launch.preconditions import check_platform, prepare_runtime_dir

_ENSURE_LOCK = "ensure.lock"


def register_user(runtime_dir: str | os.PathLike[str], master_pid: int) -> None:
    """The engine that runs here, or will, stays for as long as the process `master_pid` lives; none is started."""
    path = prepare_runtime_dir(runtime_dir)
    with _usable(path):
        masters.register(path, Identity.of(master_pid))


def start_keeper(
    runtime_dir: str | os.PathLike[str], master_pid: int, environment: Mapping[str, str] | None = None
) -> int:
    """Has the engine run for as long as the process `master_pid` lives; the keeper's pid.

    `environment` is put over this process's own for an engine that is started. 0 if a supervisor of its own (systemd's)
    runs here and needs no keeper. A keeper that is there already is used. Raises NotReady if nothing can be written in
    the directory, or nothing started.
    """
    check_platform()
    path = prepare_runtime_dir(runtime_dir)
    with _usable(path):
        masters.register(path, Identity.of(master_pid))
        supervisor = living_holder(path / SUPERVISOR_LOCK)
        if supervisor is not None and not supervisor.embedded:
            return 0
        keeper = living_holder(path / KEEPER_LOCK)
        return keeper.pid if keeper is not None else _spawn_keeper(path, master_pid, environment)


def ensure_keeper(
    runtime_dir: str | os.PathLike[str], master_pid: int, environment: Mapping[str, str] | None = None
) -> None:
    """For a frontend that finds no supervisor: starts the keeper again if it is gone, whoever asks first.

    Nothing happens where the supervisor was not a keeper's in the first place, or the master is gone. A directory that
    was removed is made again. Raises NotReady as `start_keeper` does.
    """
    path = prepare_runtime_dir(runtime_dir)
    with _usable(path), locked(path / _ENSURE_LOCK):
        supervisor = last_holder(path / SUPERVISOR_LOCK)
        foreign = supervisor is not None and not supervisor.embedded
        if not foreign and living_holder(path / KEEPER_LOCK) is None and Identity.of(master_pid).is_living:
            start_keeper(path, master_pid, environment)


def stop_keeper(runtime_dir: str | os.PathLike[str], timeout_s: float) -> bool:
    """This process needs the engine no more: ends it, unless another master does; whether the keeper is gone.

    Waits for at most `timeout_s` seconds.
    """
    path = Path(runtime_dir).absolute()
    masters.unregister(path, Identity.of(os.getpid()))
    keeper = living_holder(path / KEEPER_LOCK)
    pidfd = keeper.identity.open_pidfd() if keeper is not None else None
    if pidfd is None:
        return True
    try:
        if masters.living(path):
            return False
        send_signal(pidfd, signal.SIGTERM)
        return wait_dead(pidfd, timeout_s=timeout_s)
    finally:
        os.close(pidfd)


def start_supervisor(
    runtime_dir: str | os.PathLike[str], settings_environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """A supervisor without a keeper, in a session of its own; the caller waits for it and ends it by SIGTERM.

    `settings_environment` is put over this process's environment.
    """
    check_platform()
    path = prepare_runtime_dir(runtime_dir)
    return subprocess.Popen(
        module_command("engine.supervisor", "--runtime-dir", str(path)),
        env={**os.environ, **settings_environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules in a fresh interpreter."""
    return [sys.executable, "-m", module, *arguments]


@contextlib.contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotReady(f"the engine cannot be started in {path}: {error}") from error


def _spawn_keeper(path: Path, master_pid: int, environment: Mapping[str, str] | None) -> int:
    """Starts the keeper as nobody's child: gunicorn's master takes every child of its for a worker.

    Raises NotReady if it did not come up.
    """
    reader, writer = os.pipe()
    arguments = ("--runtime-dir", str(path), "--master", str(master_pid), "--report-fd", str(writer))
    with contextlib.closing(os.fdopen(reader, "rb")) as report:
        try:
            starter = subprocess.Popen(
                module_command("engine.supervisor.keeper", *arguments),
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                pass_fds=[writer],
                start_new_session=True,
            )
        finally:
            os.close(writer)
        pid = report.read()
        starter.wait()
    if not pid:
        raise NotReady("the keeper of the engine did not start; its message is in the log")
    return int(pid)
