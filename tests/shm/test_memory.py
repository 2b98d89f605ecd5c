"""What is left of the machine's and of the control groups' memory, on made-up trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.shm.memory import available_bytes

MEGABYTE = 1 << 20


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    write(tmp_path / "proc", meminfo=f"MemTotal: 999999 kB\nMemAvailable: {100 * 1024} kB\n")
    v2, v1 = tmp_path / "cgroup", tmp_path / "cgroup/memory"
    mounts = f"31 1 0:9 / {v2} rw - cgroup2 cgroup2 rw\n35 1 0:10 / {v1} rw - cgroup cgroup rw,memory\n"
    write(tmp_path / "proc/self", mountinfo=mounts)
    return tmp_path / "proc"


def test_without_a_group_it_is_what_the_machine_has(proc: Path) -> None:
    assert available_bytes(proc) == 100 * MEGABYTE


def test_version_2_counts_every_group_up_to_the_root(proc: Path, tmp_path: Path) -> None:
    write(proc / "self", cgroup="0::/outer/inner\n")
    outer = tmp_path / "cgroup/outer"
    write(outer, memory__max=str(60 * MEGABYTE), memory__current=str(20 * MEGABYTE))
    write(outer / "inner", memory__max="max\n", memory__current="5")
    assert available_bytes(proc) == 40 * MEGABYTE


def test_pages_that_the_kernel_gives_back_do_not_count(proc: Path, tmp_path: Path) -> None:
    write(proc / "self", cgroup="0::/\n")
    figures = {"memory__max": str(50 * MEGABYTE), "memory__current": str(45 * MEGABYTE)}
    write(tmp_path / "cgroup", **figures, memory__stat=f"anon 5\ninactive_file {30 * MEGABYTE}\n")
    assert available_bytes(proc) == 35 * MEGABYTE


def test_version_1_with_a_path_of_the_host(proc: Path, tmp_path: Path) -> None:
    """In a container /proc/self/cgroup may name a path that only the host has: then the root's figures count."""
    write(proc / "self", cgroup="5:cpu:/host/path\n4:memory:/host/path\n")
    limit, usage = {"memory__limit_in_bytes": str(30 * MEGABYTE)}, {"memory__usage_in_bytes": str(31 * MEGABYTE)}
    write(tmp_path / "cgroup/memory", **limit, **usage)
    assert available_bytes(proc) == 0


def test_a_limit_that_is_none(proc: Path, tmp_path: Path) -> None:
    write(proc / "self", cgroup="4:memory:/\n")
    limit, usage = {"memory__limit_in_bytes": str(9223372036854771712)}, {"memory__usage_in_bytes": "1"}
    write(tmp_path / "cgroup/memory", **limit, **usage)
    assert available_bytes(proc) == 100 * MEGABYTE


def test_this_machine_has_memory() -> None:
    assert available_bytes() > MEGABYTE
