"""How long a stage has run, and for how much of that others had the processor."""

from __future__ import annotations

import contextlib
from pathlib import Path

from engine.clock import NS_PER_S, now_ns


class StageTime:
    """Equation: own_s + starved_s is the time since the start. `note` alone changes what was starved."""

    def __init__(self) -> None:
        self._started_ns = self._noted_ns = now_ns()
        self._starved_ns = 0
        self._delays: dict[str, int] = {}  # thread -> nanoseconds it has waited for a processor

    def note(self, pid: int) -> None:
        """Looks at the process's threads: the one that waited longest since the last look is the one that computes."""
        before, self._delays = self._delays, _delays_ns(pid)
        at_ns = now_ns()
        waited_ns = max((delay - before.get(thread, 0) for thread, delay in self._delays.items()), default=0)
        self._starved_ns += max(0, min(waited_ns, at_ns - self._noted_ns))
        self._noted_ns = at_ns

    @property
    def starved_s(self) -> float:
        return self._starved_ns / NS_PER_S

    @property
    def own_s(self) -> float:
        return (now_ns() - self._started_ns - self._starved_ns) / NS_PER_S

    @property
    def starved_share(self) -> float:
        """Of all the time, up to the last look."""
        return self._starved_ns / max(1, self._noted_ns - self._started_ns)


def _delays_ns(pid: int) -> dict[str, int]:
    """Thread -> run_delay (proc(5), schedstat); empty where the kernel does not tell, or the process is gone."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found[task.name] = int((task / "schedstat").read_text().split()[1])
    return found
