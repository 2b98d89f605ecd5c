"""How long a stage has run, and for how much of that others had the processor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from engine.clock import NS_PER_S, now_ns

_NS_PER_TICK = NS_PER_S // os.sysconf("SC_CLK_TCK")


class _Seen(NamedTuple):
    """What one look at a process found."""

    at_ns: int
    computed_ns: int  # by all of its threads
    is_runnable: bool  # whether any of them computes, or would if it could


class StageTime:
    """Equation: own_s + starved_s is the time from the start to the last look. `note` alone changes it.

    A process that could compute and did for less than the time that passed has waited for a processor. What the kernel
    counts as waiting (schedstat) it counts when the wait is over, which for the idle class may be never.
    """

    def __init__(self) -> None:
        self._started_ns = now_ns()
        self._seen = _Seen(self._started_ns, 0, False)
        self._starved_ns = 0

    def note(self, pid: int) -> None:
        """Looks at the process; several times a second."""
        before, self._seen = self._seen, _look(pid)
        passed_ns = self._seen.at_ns - before.at_ns
        if self._seen.is_runnable:
            self._starved_ns += max(0, passed_ns - max(0, self._seen.computed_ns - before.computed_ns))

    @property
    def starved_s(self) -> float:
        return self._starved_ns / NS_PER_S

    @property
    def own_s(self) -> float:
        return (self._seen.at_ns - self._started_ns - self._starved_ns) / NS_PER_S

    @property
    def starved_share(self) -> float:
        """Of all the time."""
        return self._starved_ns / max(1, self._seen.at_ns - self._started_ns)


def _look(pid: int) -> _Seen:
    """By proc(5), stat: nothing is runnable of a process that is gone."""
    at_ns = now_ns()
    try:
        ticks = sum(map(int, _fields(Path(f"/proc/{pid}/stat"))[11:13]))  # utime, stime
        states = [_fields(each / "stat")[0] for each in Path(f"/proc/{pid}/task").iterdir()]
    except (OSError, ValueError):
        return _Seen(at_ns, 0, False)
    return _Seen(at_ns, ticks * _NS_PER_TICK, "R" in states)


def _fields(path: Path) -> list[str]:
    """From the state on: the name before it may hold anything."""
    return path.read_text().rpartition(")")[2].split()
