"""Counts or lists the calls of a process's main thread between two signals; loaded by Python itself, before all else.

`PYTHONPATH` must name this folder, and FOLDER_VARIABLE the one that is written to: `PID.json`, whose presence says that
it has ended, and `PID.counting`, that it has begun. Without that variable nothing is changed. A process that is forked
later, as frontends are, inherits the handlers. Nothing of the project is imported: it may be older than this file.
"""

from __future__ import annotations

import cProfile
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDER_VARIABLE = "NIGHTSCAN_COUNT_FOLDER"
COUNT = signal.SIGRTMIN + 7  # these two are of no meaning to gunicorn, asyncio or torch
LIST = signal.SIGRTMIN + 8


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


class _Switch:
    """Begins at the first signal, writes what was found at the second, and so on."""

    def __init__(self, folder: Path, kind: type[_Counting] | type[_Listing]) -> None:
        self._folder = folder
        self._kind = kind
        self._running: _Counting | _Listing | None = None

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
