"""The gunicorn masters that want an engine, one empty file each: `masters/PID-START_TICKS`.

A file and not an argument, because a gunicorn that is upgraded in place (USR2) has two masters for a while, and the
keeper of the first must stay for the second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from engine.launch.identity import Identity

_FOLDER = "masters"


def register(runtime_dir: Path, master: Identity) -> None:
    """The engine stays for as long as `master` lives."""
    folder = runtime_dir / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{master.pid}-{master.start_ticks}"
    if not file.exists():
        file.touch(0o600)


def unregister(runtime_dir: Path, master: Identity) -> None:
    """`master` no longer needs the engine."""
    (runtime_dir / _FOLDER / f"{master.pid}-{master.start_ticks}").unlink(missing_ok=True)


def living(runtime_dir: Path) -> list[Identity]:
    """Those registered that live; the files of the dead are removed."""
    found = []
    for master in _registered(runtime_dir):
        if master.is_living:
            found.append(master)
        else:
            unregister(runtime_dir, master)
    return found


def _registered(runtime_dir: Path) -> Iterator[Identity]:
    with contextlib.suppress(FileNotFoundError):
        for entry in (runtime_dir / _FOLDER).iterdir():
            pid, _, start_ticks = entry.name.partition("-")
            if pid.isdigit() and start_ticks.isdigit():
                yield Identity(int(pid), int(start_ticks))
