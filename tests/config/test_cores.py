"""Cores are counted by affinity and by the quotas of control groups, on made-up trees of both versions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engine.config.cores import cores_of

BY_AFFINITY = len(os.sched_getaffinity(0))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    return folder


def mount(proc: Path, kind: str, options: str, top: Path) -> None:
    (proc / "self/mountinfo").write_text(f"30 20 0:26 / {top} rw - {kind} {kind} {options}\n")


def test_of_nested_groups_the_tightest_quota_counts(proc: Path, tmp_path: Path) -> None:
    inner = tmp_path / "groups/outer/inner"
    inner.mkdir(parents=True)
    mount(proc, "cgroup2", "rw", tmp_path / "groups")
    (proc / "self/cgroup").write_text("0::/outer/inner\n")
    (inner / "cpu.max").write_text("max 100000\n")
    assert cores_of(proc=proc).count == BY_AFFINITY
    (inner.parent / "cpu.max").write_text("90000 100000\n")
    (inner / "cpu.max").write_text("400000 100000\n")
    found = cores_of(proc=proc)
    assert (found.count, found.quota, found.quota_file) == (1, 0.9, f"{inner.parent}/cpu.max")


def test_version_1_has_quota_and_period_in_two_files(proc: Path, tmp_path: Path) -> None:
    mount(proc, "cgroup", "rw,cpu,cpuacct", tmp_path)
    (proc / "self/cgroup").write_text("3:cpuset:/none\n2:cpu,cpuacct:/\n")
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert cores_of(proc=proc).quota is None
    (tmp_path / "cpu.cfs_quota_us").write_text("50000\n")
    assert (cores_of(proc=proc).count, cores_of(proc=proc).quota) == (1, 0.5)


@pytest.mark.parametrize("content", [None, b"", b"max", b"1 2 3\n", b"\xff\xfe 100000\n", b"\x00"])
def test_a_quota_that_cannot_be_read_is_none(proc: Path, tmp_path: Path, content: bytes | None) -> None:
    mount(proc, "cgroup2", "rw", tmp_path)
    (proc / "self/cgroup").write_text("0::/\n")
    if content is None:
        (tmp_path / "cpu.max").mkdir()
    else:
        (tmp_path / "cpu.max").write_bytes(content)
    assert cores_of(proc=proc).count == BY_AFFINITY


def test_another_process_is_asked_for_its_own(proc: Path, tmp_path: Path) -> None:
    mount(proc, "cgroup2", "rw", tmp_path)
    child = subprocess.Popen(["sleep", "60"])
    try:
        os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
        (proc / str(child.pid)).mkdir()
        (proc / str(child.pid) / "cgroup").write_text("0::/\n")
        (tmp_path / "cpu.max").write_text("50000 100000\n")
        assert (cores_of(child.pid, proc=proc).by_affinity, cores_of(child.pid, proc=proc).quota) == (1, 0.5)
    finally:
        child.kill()
        child.wait()
    assert cores_of(child.pid).by_affinity == BY_AFFINITY


def test_this_machine_has_cores() -> None:
    assert 1 <= cores_of().count <= BY_AFFINITY
