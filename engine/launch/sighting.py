"""What can be seen of an engine without asking it: who holds its locks, and whether it runs or was stopped."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from engine.launch import masters
from engine.launch.locks import KEEPER_LOCK, SUPERVISOR_LOCK, last_holder, living_holder
from engine.messages import SOCKET_NAME


def supervisor_pid(runtime_dir: str | os.PathLike[str]) -> int:
    """Who runs the engine of this folder; 0 if nobody lives."""
    holder = living_holder(Path(runtime_dir) / SUPERVISOR_LOCK)
    return holder.pid if holder is not None else 0


def keeper_pid(runtime_dir: str | os.PathLike[str]) -> int:
    """Who starts the supervisor again; 0 if nobody does, which is so without gunicorn."""
    holder = living_holder(Path(runtime_dir) / KEEPER_LOCK)
    return holder.pid if holder is not None else 0


def master_pids(runtime_dir: str | os.PathLike[str]) -> list[int]:
    """The gunicorn masters that want an engine here."""
    with contextlib.suppress(OSError):
        return sorted(each.pid for each in masters.living(Path(runtime_dir)))
    return []


def was_killed(runtime_dir: str | os.PathLike[str]) -> bool:
    """Whether the last supervisor did not leave in order: its name still stands in the lock."""
    return last_holder(Path(runtime_dir) / SUPERVISOR_LOCK) is not None and not supervisor_pid(runtime_dir)


def has_socket(runtime_dir: str | os.PathLike[str]) -> bool:
    """Whether some supervisor has begun to listen here, perhaps one that is dead."""
    return (Path(runtime_dir) / SOCKET_NAME).is_socket()


def is_paused(pid: int) -> bool:
    """Whether a signal has stopped the process (SIGSTOP, Ctrl-Z), or a debugger holds it (proc(5), state T or t)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    return False
