"""Counts the calls of a process's main thread between two signals; loaded by Python itself, before anything else.

`PYTHONPATH` must name this folder, and FOLDER_VARIABLE the one that the counts are written to: `PID.json`, whose
presence says that counting has ended, and `PID.counting`, that it has begun. Without that variable nothing is changed.
A process that is forked later, as frontends are, inherits the handler. Imports nothing of the project, which may be an
older one than this file.
"""

from __future__ import annotations

import cProfile
import json
import os
import signal
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FOLDER_VARIABLE = "NIGHTSCAN_COUNT_FOLDER"
TOGGLE = signal.SIGRTMIN + 7  # of no meaning to gunicorn, asyncio or torch


class _Counter:
    """Begins to count at the first signal, writes what it has counted at the second, and so on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._profile: cProfile.Profile | None = None

    def handle_toggle(self, number: int, frame: FrameType | None) -> None:
        if self._profile is None:
            (self._folder / f"{os.getpid()}.counting").touch()
            self._profile = cProfile.Profile()
            self._profile.enable()
            return
        self._profile.disable()
        found, self._profile = [_told(entry) for entry in self._profile.getstats()], None
        (self._folder / f"{os.getpid()}.counting").unlink()
        unfinished = self._folder / f"{os.getpid()}.unfinished"
        unfinished.write_text(json.dumps(found))
        unfinished.rename(self._folder / f"{os.getpid()}.json")


def _told(entry: Any) -> dict[str, Any]:
    """One function: `file` empty for one that is not written in Python; `made`: calls of such ones out of it."""
    made = {called.code: called.callcount for called in entry.calls or () if isinstance(called.code, str)}
    if not isinstance(entry.code, CodeType):
        return {"file": "", "line": 0, "name": entry.code, "calls": entry.callcount, "made": made}
    name = getattr(entry.code, "co_qualname", entry.code.co_name)  # Python 3.10 has no qualified one
    place = {"file": entry.code.co_filename, "line": entry.code.co_firstlineno}
    return {**place, "name": name, "calls": entry.callcount, "made": made}


if FOLDER_VARIABLE in os.environ:
    signal.signal(TOGGLE, _Counter(Path(os.environ[FOLDER_VARIABLE])).handle_toggle)
