"""Starting processes by exec of a fresh interpreter, and what their end says.

Never by fork alone: a forked child would share the lease's open description and keep the lock after our death.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.lifecycle import ExitCode
from engine.launch.identity import Identity, send_signal

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Child:
    """A process we started. The pidfd belongs to whoever holds this."""

    identity: Identity
    pidfd: int

    def end(self) -> None:
        """Kills it, and leaves nothing of it: for one whose death cannot be waited for."""
        send_signal(self.pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    stdout: int | None = None,
    kept: Sequence[int] = (),
) -> Child:
    """Starts `command` in a session of its own, with nothing to read and our output, or `stdout`.

    Our descriptors are all close-on-exec, so that the child gets no others but those in `kept`, under the same numbers.
    Raises OSError, and then no child is left.
    """
    handed = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in kept]  # onto itself: only close-on-exec is cleared, in the child
    if stdout is not None:
        handed.append((os.POSIX_SPAWN_DUP2, stdout, 1))
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            command[0],
            list(command),
            os.environ if environment is None else environment,
            file_actions=[*handed, (os.POSIX_SPAWN_DUP2, null, 0)],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
        )
    finally:
        os.close(null)
    try:
        return Child(Identity.of(pid), os.pidfd_open(pid))  # not yet waited for: the pid cannot be given again
    except OSError:  # no descriptor left; nobody would ever learn of its end
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def reap(pidfd: int) -> int | None:
    """The exit status of a dead child, negative for a signal; None if it is not a child of ours (an adopted one)."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


_IN_WORDS = {
    ExitCode.ORPHANED: "ORPHANED: its connection to the supervisor closed, see the log and `health` in status",
}


def describe_exit(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "ended, with a status that only its parent learnt"
    if status < 0:
        return f"was killed by {_signal_name(-status)}"
    try:
        return f"exited with {status} ({_IN_WORDS.get(ExitCode(status), ExitCode(status).name)})"
    except ValueError:
        return f"exited with {status}"


def adopt_orphans() -> None:
    """Makes descendants whose parent dies children of this process, to be reaped here (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def living_children() -> list[int]:
    """Pids of the children of this process, dead ones that nobody has reaped included; none where no kernel says so.

    Whoever reaps nothing meanwhile may signal them by these (proc(5), `children`).
    """
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):
            found += map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())
    return found


def reap_all() -> dict[int, int]:
    """Waits for every child that is dead already: pid -> exit status, negative for a signal."""
    found: dict[int, int] = {}
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found[ended[0]] = os.waitstatus_to_exitcode(ended[1])
    except ChildProcessError:
        pass  # there are no children
    return found


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
