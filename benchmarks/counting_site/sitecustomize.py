"""Counts, lists, times or leaves out calls in a process between two signals; loaded by Python itself, before all else.

`PYTHONPATH` must name this folder, and FOLDER_VARIABLE the one that is written to: `PID.json`, whose presence says that
it has ended, and `PID.counting`, that it has begun. Without that variable nothing is changed. A process that is forked
later, as frontends are, inherits the handlers. Nothing of the project is imported: it may be older than this file.
"""

from __future__ import annotations

import cProfile
import functools
import json
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDER_VARIABLE = "NIGHTSCAN_COUNT_FOLDER"
TIMED_VARIABLE = "NIGHTSCAN_TIMED_CALLS"  # `module:Class.function`, separated by commas
COUNT = signal.SIGRTMIN + 7  # these four are of no meaning to gunicorn, asyncio or torch
LIST = signal.SIGRTMIN + 8
TIME = signal.SIGRTMIN + 9
LEAVE_OUT = signal.SIGRTMIN + 10


class _Counting:
    """How often each function is called."""

    def __init__(self) -> None:
        self._profile = cProfile.Profile()

    def begin(self) -> None:
        self._profile.enable()

    def end(self) -> list[dict[str, Any]]:
        self._profile.disable()
        return [_counted(entry) for entry in self._profile.getstats()]


class _Listing:
    """Which functions written in Python are called, in order, and how deep within each other."""

    def __init__(self) -> None:
        self._depth = 0
        self._found: list[tuple[int, int, CodeType]] = []

    def begin(self) -> None:
        sys.setprofile(self._note)

    def end(self) -> list[dict[str, Any]]:
        sys.setprofile(None)
        return [{**_place(code), "depth": depth, "at_ns": at_ns} for at_ns, depth, code in self._found]

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._found.append((time.monotonic_ns(), self._depth, frame.f_code))
            self._depth += 1
        elif event == "return":
            self._depth = max(0, self._depth - 1)  # out of what was called before we listened: no deeper than that


class _Timing:
    """How much of the processor the calls of TIMED_VARIABLE take, in all threads; one within another counts once."""

    def __init__(self) -> None:
        self._places = [_owner_of(target) for target in os.environ.get(TIMED_VARIABLE, "").split(",") if target]
        self._within = threading.local()
        self._found: dict[str, list[int]] = {}

    def begin(self) -> None:
        for owner, name in self._places:
            if owner is not None:
                setattr(owner, name, self._timed(getattr(owner, name), f"{owner.__name__}.{name}"))

    def end(self) -> list[dict[str, Any]]:
        for owner, name in self._places:
            if owner is not None:
                setattr(owner, name, getattr(owner, name).__wrapped__)
        asking_ns = _asking_ns()
        found = {name: (len(times), sum(times) - asking_ns * len(times)) for name, times in self._found.items()}
        return [{"name": name, "calls": calls, "cpu_ns": cpu_ns} for name, (calls, cpu_ns) in found.items()]

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        within, times = self._within, self._found.setdefault(name, [])

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            if getattr(within, "depth", 0):
                return function(*arguments, **named)
            within.depth, began_ns = 1, time.thread_time_ns()
            try:
                return function(*arguments, **named)
            finally:
                within.depth = 0
                times.append(time.thread_time_ns() - began_ns)

        return timed


class _LeavingOut:
    """The calls of TIMED_VARIABLE do nothing and return None: what the process takes without them."""

    def __init__(self) -> None:
        self._places = [_owner_of(target) for target in os.environ.get(TIMED_VARIABLE, "").split(",") if target]
        self._kept: list[tuple[Any, str, Callable[..., Any]]] = []

    def begin(self) -> None:
        for owner, name in self._places:
            if owner is not None:
                self._kept.append((owner, name, getattr(owner, name)))
                setattr(owner, name, lambda *arguments, **named: None)

    def end(self) -> list[dict[str, Any]]:
        for owner, name, function in self._kept:
            setattr(owner, name, function)
        return [{"name": f"{owner.__name__}.{name}"} for owner, name, _ in self._kept]


def _asking_ns() -> float:
    """What asking for the time takes by itself: microseconds, on a virtual machine."""
    moments = [time.thread_time_ns() for _ in range(1001)]
    return statistics.median(after - before for before, after in zip(moments, moments[1:]))


def _owner_of(target: str) -> tuple[Any, str]:
    """The class or module of a function, and its name there; None for one that this process has not loaded."""
    module, _, path = target.partition(":")
    *classes, name = path.split(".")
    owner: Any = sys.modules.get(module)
    for each in classes:
        owner = getattr(owner, each, None)
    return owner, name


Kind = type[_Counting] | type[_Listing] | type[_Timing] | type[_LeavingOut]


class _Switch:
    """Begins at the first signal, writes what was found at the second, and so on."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._folder = folder
        self._kind = kind
        self._running: _Counting | _Listing | _Timing | _LeavingOut | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        name = f"{self._folder}/{os.getpid()}"
        if self._running is None:
            Path(f"{name}.counting").touch()
            self._running = self._kind()
            self._running.begin()
            return
        found, self._running = self._running.end(), None
        os.unlink(f"{name}.counting")
        Path(f"{name}.unfinished").write_text(json.dumps(found))
        os.rename(f"{name}.unfinished", f"{name}.json")


def _counted(entry: Any) -> dict[str, Any]:
    """`made`: calls out of it of functions that are not written in Python."""
    made = {called.code: called.callcount for called in entry.calls or () if isinstance(called.code, str)}
    place = _place(entry.code) if isinstance(entry.code, CodeType) else {"file": "", "line": 0, "name": entry.code}
    return {**place, "calls": entry.callcount, "made": made}


def _place(code: CodeType) -> dict[str, Any]:
    name = getattr(code, "co_qualname", code.co_name)  # Python 3.10 has no qualified one
    return {"file": code.co_filename, "line": code.co_firstlineno, "name": name}


if FOLDER_VARIABLE in os.environ:
    signal.signal(COUNT, _Switch(Path(os.environ[FOLDER_VARIABLE]), _Counting).handle)
    signal.signal(LIST, _Switch(Path(os.environ[FOLDER_VARIABLE]), _Listing).handle)
    signal.signal(TIME, _Switch(Path(os.environ[FOLDER_VARIABLE]), _Timing).handle)
    signal.signal(LEAVE_OUT, _Switch(Path(os.environ[FOLDER_VARIABLE]), _LeavingOut).handle)
