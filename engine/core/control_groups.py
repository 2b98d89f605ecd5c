"""Where the control groups of a process lie, and how much of the processor they leave it: decided on file contents.

What a process is in (`/proc/PID/cgroup`) is written from the root of a control group namespace; what can be seen of it
lies where a mount says (`/proc/self/mountinfo`), which may begin higher or lower than that root.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_OWN_FIELDS, _ROOT, _POINT = 6, 3, 4  # of a line of mountinfo, before the separator and in order
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a blank in a folder's name
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Cores:
    """How many cores a process may keep busy, and what limits them."""

    of_machine: int
    by_affinity: int  # at least 1
    quota: float | None = None  # the time of so many cores, of the tightest control group; None: none has one
    quota_file: str = ""

    @property
    def count(self) -> int:
        """At least 1. A part of a core counts as one: leaving it idle costs more than being throttled now and then."""
        return self.by_affinity if self.quota is None else max(1, min(self.by_affinity, math.ceil(self.quota)))

    @property
    def limit(self) -> str:
        """What allows no more than `count`, for people; empty: nothing does, these are all that there are."""
        if self.quota is not None and self.quota < self.by_affinity:
            return f"a quota of {self.quota:.4g} in {self.quota_file}"
        return "the affinity mask" if self.by_affinity < self.of_machine else ""

    def __str__(self) -> str:
        cores = f"{self.count} {'core' if self.count == 1 else 'cores'}"
        return f"{cores} of {self.of_machine} ({self.limit})" if self.limit else cores


class GroupFolder(NamedTuple):
    """A control group as a folder of files."""

    path: str
    is_v2: bool


def group_folders(groups: str, mounts: str, controller: str) -> Iterator[GroupFolder]:
    """Those whose limits hold for a process: the innermost first. Of version 1 the hierarchy of `controller` alone.

    `groups`: its `/proc/PID/cgroup`. `mounts`: the reader's `/proc/self/mountinfo`. What cannot be understood is
    passed over, and so are groups that no mount shows. Folders may be named that do not exist.
    """
    paths = {is_v2: path for is_v2, path in _paths(groups, controller)}
    for point, (root, is_v2) in _mounts(mounts, controller).items():
        inner = _below(root, paths[is_v2]) if is_v2 in paths else None
        if inner is not None:
            for length in range(len(inner), -1, -1):
                yield GroupFolder("/".join([point.rstrip("/"), *inner[:length]]) or "/", is_v2)


def quota_cores(quota_us: str, period_us: str) -> float | None:
    """How many cores' time that is; None where it is no limit, or nonsense."""
    quota, period = (_positive(text) for text in (quota_us, period_us))
    return quota / period if quota and period else None


def _positive(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


def _paths(groups: str, controller: str) -> Iterator[tuple[bool, str]]:
    for line in groups.splitlines():
        _, controllers, path = (line.split(":", 2) + ["?", ""])[:3]
        if path.startswith("/") and (not controllers or controller in controllers.split(",")):
            yield not controllers, path


def _mounts(mounts: str, controller: str) -> dict[str, tuple[str, bool]]:
    """Mount point -> which group it shows, and whether of version 2. Of several at one point the last is seen."""
    seen = {}
    for line in mounts.splitlines():
        own, _, rest = line.partition(" - ")
        fields, (kind, _, options) = own.split(" "), (rest.split(" ") + ["", "", ""])[:3]
        is_v2 = kind == "cgroup2"
        if len(fields) >= _OWN_FIELDS and (is_v2 or (kind == "cgroup" and controller in options.split(","))):
            seen[_unescaped(fields[_POINT])] = (_unescaped(fields[_ROOT]), is_v2)
    return seen


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def _below(root: str, path: str) -> list[str] | None:
    """Names that lead from the group at `root` to the one at `path`; None where they do not.

    Each `..` at the beginning is a step above the root of the namespace. From there the names down to it are not known:
    then only the group at `root` itself is.
    """
    (root_ups, root_names), (ups, names) = _steps(root), _steps(path)
    if root_ups == ups:
        return names[len(root_names) :] if names[: len(root_names)] == root_names else None
    return [] if root_ups > ups and not root_names else None


def _steps(path: str) -> tuple[int, list[str]]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    names = [part for part in parts if part != ".."]
    return len(parts) - len(names), names
