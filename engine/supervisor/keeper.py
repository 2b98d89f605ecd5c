"""The keeper: `python -m engine.supervisor.keeper --runtime-dir DIR --master PID`, started by gunicorn's master.

Keeps one supervisor running for as long as a registered master lives, and ends it afterwards, even if the master was
SIGKILLed. Owns nothing: it may be killed too, and the next frontend that misses the supervisor starts another.

It is nobody's child (it forks once, before anything is open) and the parent of orphans: instances whose supervisor died
are reaped here.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.clock import NS_PER_S, now_ns
from engine.core.lifecycle import ExitCode
from engine.core.restart import RestartPolicy
from engine.errors import SupervisorRunning
from engine.launch import masters
from engine.launch.identity import Identity, send_signal
from engine.launch.locks import KEEPER_LOCK, SUPERVISOR_LOCK, LockFile, living_holder, was_released
from engine.launch.private import remove_if_over
from engine.launch.starting import module_command
from engine.observe.log import set_up_logging
from engine.supervisor.children import adopt_orphans, describe_exit, living_children, reap_all, spawn
from engine.supervisor.folder import LOOK_EVERY_S, RuntimeFolder
from engine.supervisor.loop import Loop
from engine.supervisor.master_watch import MasterWatch

STOP_WITHIN_S = 8.0  # a supervisor bounds its own end; one that is still there then hangs

_FINAL = (ExitCode.CLEAN, ExitCode.BAD_CONFIG, ExitCode.UNSUPPORTED)  # starting again cannot help, or is not wanted
_RESTARTS = RestartPolicy(longest_pause_s=5.0)

_log = logging.getLogger(__name__)


class Keeper:
    """One per runtime directory, for whoever holds the lock on it."""

    def __init__(self, loop: Loop, runtime_dir: Path, supervisor_command: Sequence[str]) -> None:
        """`supervisor_command` is run with the runtime directory and `--embedded` appended."""
        self._loop = loop
        self._runtime_dir = runtime_dir
        self._command = [*supervisor_command, "--runtime-dir", str(runtime_dir), "--embedded"]
        self._pidfd = -1  # of the supervisor, whoever started it
        self._pid = 0
        self._ours_to_stop = True
        self._status: int | None = None
        self._began_at_ns = 0
        self._young_deaths = 0
        self._leaving = False

    def start(self) -> None:
        """Watches the supervisor that runs, or starts one. For the loop, which repeats it until it succeeds."""
        if self._leaving:
            return
        if self._pidfd < 0:
            self._find_or_start()
        self._loop.watch(self._pidfd, self._supervisor_died)

    def _find_or_start(self) -> None:
        self._status = None
        self._began_at_ns = now_ns()
        holder = living_holder(self._runtime_dir / SUPERVISOR_LOCK)
        pidfd = holder.identity.open_pidfd() if holder is not None else None
        if holder is not None and pidfd is not None:
            self._pid, self._pidfd, self._ours_to_stop = holder.pid, pidfd, holder.embedded
        else:
            child = spawn(self._command)
            self._pid, self._pidfd, self._ours_to_stop = child.identity.pid, child.pidfd, True

    def give_way(self) -> None:
        """Another keeper has the lock: ends, and leaves the supervisor to it."""
        self._leaving = True
        self._loop.stop()

    def leave(self) -> None:
        """Ends the supervisor if it is a keeper's, then the loop."""
        if self._leaving:
            return
        self._leaving = True
        if self._pidfd < 0 or not self._ours_to_stop:
            self._loop.attempt(self._end)
            return
        send_signal(self._pidfd, signal.SIGTERM)
        self._loop.call_after(STOP_WITHIN_S, self._insist)

    def reap(self) -> None:
        """Takes the exit statuses of the supervisor and of orphans."""
        self._status = reap_all().get(self._pid, self._status)

    def close(self) -> None:
        """Watches nobody any more."""
        if self._pidfd >= 0:
            self._loop.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _insist(self) -> None:
        if self._pidfd >= 0:
            _log.error("the supervisor (pid %d) does not end; killed", self._pid)
            send_signal(self._pidfd, signal.SIGKILL)

    def _supervisor_died(self) -> None:
        self.reap()
        self.close()
        status = self._status
        if status is None and was_released(self._runtime_dir / SUPERVISOR_LOCK):
            status = ExitCode.CLEAN  # somebody else's child; one that ends in order gives its lock back
        if self._leaving or status in _FINAL:
            self._loop.attempt(self._end)  # by itself: nobody is watched any more whose end would be dealt with again
            return
        _log.warning("the supervisor (pid %d) %s", self._pid, describe_exit(status))
        self._loop.call_after(self._pause_s(), self.start)

    def _end(self) -> None:
        """Nobody looks any more after what a supervisor that died has left here: it is told to leave."""
        if living_holder(self._runtime_dir / SUPERVISOR_LOCK) is None:
            for pid in living_children():
                os.kill(pid, signal.SIGTERM)
        self._loop.stop()

    def _pause_s(self) -> float:
        """The first death costs no pause; dying young again and again does."""
        steady = now_ns() - self._began_at_ns >= _RESTARTS.steady_s * NS_PER_S
        self._young_deaths = 0 if steady else self._young_deaths + 1
        return _RESTARTS.pause_s(self._young_deaths - 1) if self._young_deaths > 1 else 0.0


def main(arguments: Sequence[str], *, supervisor_command: Sequence[str] | None = None) -> int:
    """Runs until no master is left. `supervisor_command` starts a supervisor, in place of our own module."""
    parser = argparse.ArgumentParser(prog="python -m engine.supervisor.keeper")
    parser.add_argument("--runtime-dir", required=True, type=Path)
    parser.add_argument("--master", required=True, type=int, help="pid of the process that needs the engine")
    parser.add_argument("--report-fd", type=int, help="go into the background; write the pid here once up")
    given = parser.parse_args(arguments)
    if given.report_fd is not None:
        os.set_inheritable(given.report_fd, False)  # the starter waits until the last copy of it is closed
        _go_into_background()
    set_up_logging()
    command = module_command("engine.supervisor") if supervisor_command is None else supervisor_command
    try:
        masters.register(given.runtime_dir, Identity.of(given.master))
        return _keep(given.runtime_dir, command, given.report_fd)
    except OSError as error:
        _log.error("cannot start in %s: %s", given.runtime_dir, error)
        return ExitCode.NO_LOCK


def _keep(runtime_dir: Path, command: Sequence[str], report_fd: int | None) -> int:
    """Raises OSError if the lock cannot be made."""
    with contextlib.ExitStack() as stack:
        loop = Loop()
        stack.callback(loop.close)
        keeper = Keeper(loop, runtime_dir, command)
        stack.callback(keeper.close)
        # Before the lock names this process: whoever finds it there may end it at once, and the supervisor with it.
        loop.on_signal(signal.SIGTERM, keeper.leave)
        loop.on_signal(signal.SIGINT, keeper.leave)
        loop.on_signal(signal.SIGCHLD, keeper.reap)
        lock = LockFile.try_take(runtime_dir / KEEPER_LOCK)
        if lock is None:
            _report(report_fd, runtime_dir)
            return ExitCode.LOCKED
        stack.callback(lock.release)
        adopt_orphans()
        watch = MasterWatch(loop, runtime_dir, keeper.leave)
        stack.callback(watch.close)
        loop.call_after(0.0, watch.look)
        folder = RuntimeFolder(
            loop, runtime_dir, lock=functools.partial(_keep_lock, lock, keeper), masters=watch
        )
        loop.call_after(LOOK_EVERY_S, folder.look)
        loop.attempt(keeper.start)
        _report(report_fd, runtime_dir)
        loop.run()
    remove_if_over(runtime_dir)
    return ExitCode.CLEAN


def _keep_lock(lock: LockFile, keeper: Keeper) -> None:
    try:
        lock.keep()
    except SupervisorRunning as error:
        _log.warning("another keeper has taken over: %s", error)
        keeper.give_way()


def _go_into_background() -> None:
    """The process that was started ends; its child goes on, in a session of its own."""
    if os.fork():
        os._exit(0)
    os.setsid()


def _report(fd: int | None, runtime_dir: Path) -> None:
    """Tells the starter which process keeps the engine: this one, or the one that has the lock."""
    if fd is None:
        return
    holder = living_holder(runtime_dir / KEEPER_LOCK)
    os.write(fd, str(holder.pid if holder is not None else os.getpid()).encode())
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
