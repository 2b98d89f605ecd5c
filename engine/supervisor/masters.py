"""The gunicorn masters that want an engine, one empty file each: `masters/PID-START_TICKS`.

A file and not an argument, because a gunicorn that is upgraded in place (USR2) has two masters for a while, and the
keeper of the first must stay for the second.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.supervisor.identity import Identity, is_dead
from engine.supervisor.loop import Loop

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


class MasterWatch:
    """Calls `on_none` once no registered master lives any more."""

    def __init__(self, loop: Loop, runtime_dir: Path, on_none: Callable[[], None]) -> None:
        self._loop = loop
        self._runtime_dir = runtime_dir
        self._on_none = on_none
        self._pidfds: dict[Identity, int] = {}

    def look(self) -> None:
        """Watches masters that have come since; at the start, and at the death of each."""
        self._drop_dead()
        for master in living(self._runtime_dir):
            pidfd = None if master in self._pidfds else master.open_pidfd()
            if pidfd is not None:
                self._pidfds[master] = pidfd
                self._loop.watch(pidfd, self.look)
        if not self._pidfds:
            self._on_none()

    def keep(self) -> None:
        """Puts back the names of masters that live and whose files somebody removed. Raises OSError."""
        for master in self._pidfds:
            register(self._runtime_dir, master)

    def close(self) -> None:
        """Watches nobody any more."""
        for pidfd in self._pidfds.values():
            self._loop.unwatch(pidfd)
            os.close(pidfd)
        self._pidfds.clear()

    def _drop_dead(self) -> None:
        for master, pidfd in list(self._pidfds.items()):
            if is_dead(pidfd):
                self._loop.unwatch(pidfd)
                os.close(pidfd)
                del self._pidfds[master]
