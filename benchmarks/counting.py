"""Counts what running processes do, from outside: calls by signal, system calls by strace, wake-ups by the kernel."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.counting_site.sitecustomize import COUNT, LEAVE_OUT, LIST, TIME
from benchmarks.processes import own_descendants

_PATIENCE_S = 20.0
_LOCK_TAKE = re.compile(r"^<method '(?:acquire|__exit__)' of '_thread\.")  # a `with` calls `__enter__` unseen
_FLOCK = "<built-in method fcntl.flock>"


@dataclass
class Function:
    """One function and its calls. `made`: calls out of it of functions that are not written in Python."""

    place: str  # file and line; empty for one that is not written in Python
    name: str
    calls: int
    made: Counter[str] = field(default_factory=Counter)


@dataclass
class Calls:
    """What the main threads of some processes have called."""

    functions: list[Function]

    @property
    def python(self) -> int:
        """Calls of functions written in Python; each resumption of a coroutine or generator is one."""
        return sum(function.calls for function in self.functions if function.place)

    @property
    def native(self) -> int:
        """Calls of others out of Python, classes not counted."""
        return sum(function.calls for function in self.functions if not function.place)

    @property
    def lock_takes(self) -> int:
        """Locks between threads of one process, taken or tried."""
        return sum(function.calls for function in self.functions if _LOCK_TAKE.match(function.name))

    @property
    def flocks(self) -> int:
        """Calls of flock: one to take the lease, one to give it back."""
        return sum(function.calls for function in self.functions if function.name == _FLOCK)


@dataclass(frozen=True)
class Call:
    """One call of a function written in Python, or one resumption of it. `depth`: how many it was made within."""

    at_ns: int  # monotonic, comparable between processes
    pid: int
    depth: int
    place: str
    name: str


@dataclass(frozen=True)
class Roles:
    """Ids of a server's processes."""

    frontends: list[int]
    instances: list[int]
    supervisors: list[int]


def roles() -> Roles:
    """Of the server that runs below this process."""
    found = Roles([], [], [])
    for pid in own_descendants():
        process = psutil.Process(pid)
        command, parent = " ".join(process.cmdline()), process.parent()
        if "engine.instance" in command:
            found.instances.append(pid)
        elif "engine.supervisor" in command and "keeper" not in command:
            found.supervisors.append(pid)
        elif "gunicorn" in command and parent is not None and "gunicorn" in " ".join(parent.cmdline()):
            found.frontends.append(pid)
    return found


class _Switched:
    """Processes that were started with `counting_site` on their path and `folder` in its variable."""

    number: int  # the signal that begins and ends

    def __init__(self, folder: Path, pids: Sequence[int], root: Path) -> None:
        """`root`: what places are told relative to."""
        self._folder = folder
        self._pids = pids
        self._root = root

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Counts what happens inside."""
        self._switch(lambda pid: (self._folder / f"{pid}.counting").exists())
        try:
            yield
        finally:
            self._switch(lambda pid: (self._folder / f"{pid}.json").exists())

    def _switch(self, done: Callable[[int], bool]) -> None:
        for pid in self._pids:
            os.kill(pid, self.number)
        for pid in self._pids:
            _wait_for(lambda: done(pid), f"process {pid} did not take the signal to count")

    def _found(self, pid: int) -> list[dict[str, Any]]:
        """What that process wrote, but for our own functions, with `place` in the place of file and line."""
        file = self._folder / f"{pid}.json"
        rows: list[dict[str, Any]] = json.loads(file.read_text())
        file.unlink()
        for row in rows:
            row["place"] = f"{self._relative(row['file'])}:{row['line']}" if row["file"] else ""
        ours = ("counting_site", "_lsprof.Profiler")
        return [row for row in rows if not any(part in row["place"] + row["name"] for part in ours)]

    def _relative(self, file: str) -> str:
        inside, _, rest = file.rpartition("/site-packages/")
        return rest if inside else file.removeprefix(f"{self._root}/")


class CallCount(_Switched):
    """How often functions are called."""

    number = COUNT

    def collect(self, pids: Sequence[int]) -> Calls:
        """What those processes called while it ran. Forgets it."""
        functions: dict[tuple[str, str], Function] = {}
        for row in (row for pid in pids for row in self._found(pid)):
            place, name = row["place"], row["name"]
            known = functions.setdefault((place, name), Function(place, name, 0))
            known.calls += row["calls"]
            known.made.update(row["made"])
        return Calls(list(functions.values()))


class CallOrder(_Switched):
    """Which functions are called, one after the other."""

    number = LIST

    def collect(self) -> list[Call]:
        """What all of the processes called while it ran, in the order of time. Forgets it."""
        calls = [
            Call(row["at_ns"], pid, row["depth"], row["place"], row["name"])
            for pid in self._pids
            for row in self._found(pid)
        ]
        return sorted(calls, key=lambda call: call.at_ns)


class CallTime(_Switched):
    """How much of the processor some functions take, those that TIMED_VARIABLE names."""

    number = TIME

    def collect(self) -> dict[str, tuple[int, float]]:
        """Calls, and seconds of the processor, of all of the processes together, by function. Forgets it."""
        found: dict[str, tuple[int, float]] = {}
        for pid in self._pids:
            file = self._folder / f"{pid}.json"
            for row in json.loads(file.read_text()):
                calls, used_s = found.get(row["name"], (0, 0.0))
                found[row["name"]] = calls + row["calls"], used_s + row["cpu_ns"] / 1e9
            file.unlink()
        return found


class CallsLeftOut(_Switched):
    """Inside `running`, the functions that TIMED_VARIABLE names do nothing."""

    number = LEAVE_OUT

    def collect(self) -> set[str]:
        """Those that were left out by any of the processes. Forgets it."""
        files = [self._folder / f"{pid}.json" for pid in self._pids]
        names = {row["name"] for file in files for row in json.loads(file.read_text())}
        for file in files:
            file.unlink()
        return names


class SystemCallCount:
    """System calls of processes and all their threads, by name."""

    def __init__(self, pids: Sequence[int], report: Path) -> None:
        self._pids = pids
        self._report = report

    @staticmethod
    def is_possible() -> bool:
        """Whether strace is installed."""
        return shutil.which("strace") is not None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Counts what happens inside."""
        named = [option for pid in self._pids for option in ("-p", str(pid))]
        command = ["strace", "-q", "-c", "-f", "-o", str(self._report), *named]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            for pid in self._pids:
                _wait_for(lambda: _is_followed(pid, tracer) or tracer.poll() is not None, "strace did not begin")
            if tracer.poll() is not None:
                raise SystemExit(f"strace may not follow the server: it ended with {tracer.returncode}")
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(_PATIENCE_S)

    def collect(self) -> Counter[str]:
        """What was counted while it ran."""
        rows = (line.split() for line in self._report.read_text().splitlines())
        counted = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit()}
        counted.pop("total", None)
        return Counter(counted)


def wake_ups(pids: Sequence[int]) -> int:
    """How often a thread of these processes has slept until something woke it, since they were started."""
    return sum(_switches(status) for pid in pids for status in Path(f"/proc/{pid}/task").glob("*/status"))


def _switches(status: Path) -> int:
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.M)
    return int(found[1]) if found else 0


def _is_followed(pid: int, tracer: subprocess.Popen[bytes]) -> bool:
    """Whether the process has a tracer, and that waits for it: before, calls may be made that it does not see."""
    traced = "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    return traced and Path(f"/proc/{tracer.pid}/stat").read_text().rpartition(") ")[2].startswith("S")


def _wait_for(condition: Callable[[], bool], otherwise: str) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise SystemExit(otherwise)
        time.sleep(0.005)
