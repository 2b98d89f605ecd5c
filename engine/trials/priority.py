"""How trials stay out of the way of what serves: last for the processor and the disk, bounded memory, no orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import threading
from enum import Enum
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SYS_IOPRIO_SET = 251  # x86-64; glibc has no wrapper
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_IDLE, _IOPRIO_CLASS_SHIFT = 1, 3, 13
_MB = 1 << 20
_MOST_GENERATIONS = 100


class Share(Enum):
    """How much of the processor a process asks for, as niceness where others want it too."""

    IDLE = 19  # what nobody else wants
    SMALL = 10  # a seventh of one core where an instance computes on it: on a machine that is never idle
    FULL = 0  # as much as others: where nothing serves


def step_back(share: Share) -> None:
    """Lowers this process, and all that it starts from now on, for good. Needs no privilege."""
    if share is Share.FULL:
        return
    _set_niceness(share.value)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE if share is Share.IDLE else os.SCHED_BATCH, os.sched_param(0))
    value = _IOPRIO_CLASS_IDLE << _IOPRIO_CLASS_SHIFT
    ctypes.CDLL(None).syscall(_SYS_IOPRIO_SET, _IOPRIO_WHO_PROCESS, 0, value)


def session_steps_back() -> None:
    """The same for the session that this process is the head of.

    Linux shares the cores out by session first, on desktops and in containers (sched(7), "The autogroup feature"):
    there a session of processes that are all idle takes as much as one that serves. It cannot be raised again, so it
    gets the small share.
    """
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # this kernel does not group by session
            Path("/proc/self/autogroup").write_text(str(Share.SMALL.value))


def _set_niceness(value: int) -> None:
    """Unless it is lower already, which nobody without privileges takes back."""
    os.setpriority(os.PRIO_PROCESS, 0, max(value, os.getpriority(os.PRIO_PROCESS, 0)))


def limit_memory(limit_mb: int) -> None:
    """What is asked for beyond it is refused: allocations fail, as if the machine had no more.

    Counted is memory of the process's own (RLIMIT_DATA). Address space would count what runtimes reserve and never
    touch, several times as much, and files that are mapped.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = limit_mb * _MB
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL at the death of the process `parent_pid`, which has started this one; at once if it is dead already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def end_children() -> None:
    """Kills every child, and those that become children by that, until there are none. All of them, whoever made them.

    For a process that has adopted what its children leave. Bounded: what forks without end wins at last.
    """
    for _ in range(_MOST_GENERATIONS):
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        if not children:
            return
        for pid in map(int, children):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
