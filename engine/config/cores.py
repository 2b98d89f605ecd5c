"""How many cores a process may use: the one place where they are counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engine.core.control_groups import Cores, group_folders, quota_cores

_PROC = Path("/proc")


def cores_of(pid: int = 0, *, proc: Path = _PROC) -> Cores:
    """Those of the process `pid`, by its affinity and the quotas of its control groups; 0: this process.

    They are what holds at this moment. Of a process that is gone: those of this one.
    """
    try:
        by_affinity = len(os.sched_getaffinity(pid))
    except OSError:
        pid, by_affinity = 0, len(os.sched_getaffinity(0))
    quota, file = min(_quotas(proc, str(pid or "self")), default=(None, ""))
    return Cores(os.sysconf("SC_NPROCESSORS_ONLN"), by_affinity, quota, file)


def _quotas(proc: Path, process: str) -> Iterator[tuple[float, str]]:
    mounts = _read(proc / "self/mountinfo")
    for folder in group_folders(_read(proc / process / "cgroup"), mounts, "cpu"):
        name = "cpu.max" if folder.is_v2 else "cpu.cfs_quota_us"
        text = _read(Path(folder.path, name))
        if not folder.is_v2:
            text += " " + _read(Path(folder.path, "cpu.cfs_period_us"))
        figures = text.split()
        quota = quota_cores(*figures) if len(figures) == 2 else None
        if quota is not None:
            yield quota, f"{folder.path}/{name}"


def _read(path: Path) -> str:
    """Its content; empty where there is none, or it cannot be read."""
    try:
        return os.fsdecode(path.read_bytes())
    except (OSError, ValueError):
        return ""
