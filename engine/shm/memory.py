"""How much memory a new segment may take: the machine's, or what is left of a control group's limit.

Asked before anything is allocated, because running out later is no error that could be caught: it is SIGBUS at a store,
or the kernel's choice of a process to kill.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.core.control_groups import GroupFolder, group_folders

PROC = Path("/proc")

_UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as a number near 2**63
_IN_V2 = ("memory.max", "memory.current")
_IN_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def available_bytes(proc: Path | None = None, *, process: str = "self") -> int:
    """Bytes that can be allocated now without swapping and within every control group of this process, or of the one
    whose pid `process` is.

    `proc`: where the kernel says so, on this machine PROC.
    """
    proc = proc or PROC
    groups = group_folders(_read(proc / process / "cgroup"), _read(proc / "self/mountinfo"), "memory")
    return max(0, min([_machine_bytes(proc), *_left_in(groups)]))


def _machine_bytes(proc: Path) -> int:
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED_BYTES


def _left_in(groups: Iterable[GroupFolder]) -> Iterator[int]:
    """What each of them has left, if it has a limit."""
    for group in groups:
        limit, usage = _IN_V2 if group.is_v2 else _IN_V1
        folder = Path(group.path)
        limit_text, usage_text = _read(folder / limit).strip(), _read(folder / usage).strip()
        if limit_text.isdigit() and usage_text.isdigit() and int(limit_text) < _UNLIMITED_BYTES:
            yield int(limit_text) - int(usage_text) + _reclaimable_bytes(folder)


def _reclaimable_bytes(folder: Path) -> int:
    """File pages that the kernel gives back before it runs out; they count as used in the group's figure."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("total_inactive_file", "inactive_file"):
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""
