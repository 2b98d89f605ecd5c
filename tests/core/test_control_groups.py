"""Where the control groups of a process lie, and how many cores they leave it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.control_groups import Cores, group_folders, quota_cores

V2 = "30 20 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:3 - cgroup cgroup rw,cpu,cpuacct\n"
TEXT = st.text(st.sampled_from("0123:/. -,acgoprtu2\\\n"), max_size=60)


def folders(own: str, root: str = "/", *, line: str = V2) -> list[str]:
    groups = f"5:memory:/elsewhere\n4:cpuacct,cpu:{own}\n" if line is V1 else f"0::{own}\n"
    return [folder.path for folder in group_folders(groups, line.format(root=root), "cpu")]


@pytest.mark.parametrize("line", [V1, V2])
@pytest.mark.parametrize(
    ("own", "root", "expected"),
    [
        ("/", "/", [""]),
        ("/a.slice/b.service", "/", ["/a.slice/b.service", "/a.slice", ""]),
        ("/docker/id", "/docker/id", [""]),
        ("/docker/id/inner", "/docker/id", ["/inner", ""]),
        ("/docker/id", "/docker/other", []),
        ("/docker/identity", "/docker/id", []),
        ("/", "/docker/id", []),
        ("/", "/..", [""]),  # a namespace of its own, and a mount of the one around it
        ("/inner", "/../..", [""]),
        ("/../..", "/../..", [""]),
        ("/../beside/inner", "/..", ["/beside/inner", "/beside", ""]),
        ("/../..", "/", []),  # what this mount shows lies below the process
        ("/../beside", "/", []),
        ("/", "/../beside", []),
        ("/with a blank", "/with\\040a\\040blank", [""]),
    ],
)
def test_groups_from_the_innermost_to_what_is_mounted(line: str, own: str, root: str, expected: list[str]) -> None:
    top = line.split()[4]
    assert folders(own, root, line=line) == [top + each for each in expected]


def test_of_both_versions_the_limits_hold() -> None:
    found = list(group_folders("4:cpu:/x\n0::/y\n", V2.format(root="/y") + V1.format(root="/"), "cpu"))
    assert [(folder.path, folder.is_v2) for folder in found] == [
        ("/sys/fs/cgroup", True),
        ("/sys/fs/cgroup/cpu,cpuacct/x", False),
        ("/sys/fs/cgroup/cpu,cpuacct", False),
    ]


def test_of_two_mounts_at_one_place_the_last_is_seen() -> None:
    assert [each.path for each in group_folders("0::/a/b\n", V2.format(root="/") + V2.format(root="/a/b"), "cpu")] == [
        "/sys/fs/cgroup"
    ]


@pytest.mark.parametrize("groups", ["", "0::", "nonsense", "0::relative", "4:cpu", ":::", "7:cpuset,memory:/"])
def test_nothing_is_found_in_nonsense(groups: str) -> None:
    assert not list(group_folders(groups, V1.format(root="/") + "30 20 -\n - cgroup2\n\n", "cpu"))


@given(TEXT, TEXT)
def test_whatever_is_written_there_is_no_error(groups: str, mounts: str) -> None:
    for each in (mounts, f"1 2 0:3 {mounts} /m rw - cgroup2 c rw\n"):
        assert all(folder.path.startswith("/") or each is mounts for folder in group_folders(groups, each, "cpu"))


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("200000", "100000", 2.0),
        ("150000\n", "100000\n", 1.5),
        ("5000", "100000", 0.05),
        ("max", "100000", None),
        ("-1", "100000", None),
        ("0", "100000", None),
        ("100000", "0", None),
        ("", "", None),
        ("nan", "inf", None),
        ("1e5", "100000", None),
        ("²", "1", None),
        ("9" * 5000, "100000", None),
    ],
)
def test_quota(quota: str, period: str, expected: float | None) -> None:
    assert quota_cores(quota, period) == expected


@pytest.mark.parametrize(
    ("quota", "count"),
    [(None, 8), (0.01, 1), (1.0, 1), (1.01, 2), (2.0, 2), (7.5, 8), (8.0, 8), (64.0, 8), (1e18, 8)],
)
def test_a_part_of_a_core_counts_as_one(quota: float | None, count: int) -> None:
    assert Cores(64, 8, quota).count == count


@given(st.integers(1, 512), st.integers(1000, 10**9), st.integers(1000, 10**6))
def test_cores_are_never_fewer_than_the_quota_nor_one_too_many(affinity: int, quota_us: int, period_us: int) -> None:
    count = Cores(affinity, affinity, quota_cores(str(quota_us), str(period_us))).count
    assert 1 <= count <= affinity
    assert count == affinity or (count - 1) * period_us < quota_us <= count * period_us


@pytest.mark.parametrize(
    ("cores", "text"),
    [
        (Cores(1, 1), "1 core"),
        (Cores(64, 64, 64.0, "/g/cpu.max"), "64 cores"),
        (Cores(64, 2), "2 cores of 64 (the affinity mask)"),
        (Cores(64, 8, 1.5, "/g/cpu.max"), "2 cores of 64 (a quota of 1.5 in /g/cpu.max)"),
        (Cores(64, 8, 0.05, "/g/cpu.max"), "1 core of 64 (a quota of 0.05 in /g/cpu.max)"),
    ],
)
def test_cores_say_what_limits_them(cores: Cores, text: str) -> None:
    assert str(cores) == text
