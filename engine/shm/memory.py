"""How much memory a new segment may take: the machine's, or what is left of a control group's limit.

Asked before anything is allocated, because running out later is no error that could be caught: it is SIGBUS at a store,
or the kernel's choice of a process to kill.
"""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

_UNLIMITED_BYTES = 1 << 60  # version 1 writes "no limit" as a number near 2**63


def available_bytes(proc: Path | None = None, cgroups: Path | None = None, *, process: str = "self") -> int:
    """Bytes that can be allocated now without swapping and within every control group of this process, or of the one
    whose pid `process` is.

    `proc`, `cgroups`: where the kernel says so, on this machine PROC and CGROUPS.
    """
    proc, cgroups = proc or PROC, cgroups or CGROUPS
    found = [_machine_bytes(proc)]
    for line in _read(proc / process / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found += _left_in(cgroups, path, limit="memory.max", usage="memory.current")
        elif "memory" in controllers.split(","):
            found += _left_in(
                cgroups / "memory", path, limit="memory.limit_in_bytes", usage="memory.usage_in_bytes"
            )
    return max(0, min(found))


def _machine_bytes(proc: Path) -> int:
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED_BYTES


def _left_in(root: Path, path: str, *, limit: str, usage: str) -> list[int]:
    """What each group from `path` up to the root has left. In a container the path may not exist: then the root's."""
    group = root / path.lstrip("/")
    left = []
    for folder in [group, *group.parents]:
        limit_text, usage_text = _read(folder / limit).strip(), _read(folder / usage).strip()
        if limit_text.isdigit() and usage_text.isdigit() and int(limit_text) < _UNLIMITED_BYTES:
            left.append(int(limit_text) - int(usage_text) + _reclaimable_bytes(folder))
        if folder == root:
            break
    return left


def _reclaimable_bytes(folder: Path) -> int:
    """File pages that the kernel gives back before it runs out; they count as used in the group's figure."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("total_inactive_file", "inactive_file"):
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
