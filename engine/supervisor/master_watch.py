"""Watches the gunicorn masters that want this engine, each by its pidfd, and puts back their names."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from engine.launch import masters
from engine.launch.identity import Identity, is_dead
from engine.supervisor.loop import Loop


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
        for master in masters.living(self._runtime_dir):
            pidfd = None if master in self._pidfds else master.open_pidfd()
            if pidfd is not None:
                self._watch(master, pidfd)
        if not self._pidfds:
            self._on_none()

    def _watch(self, master: Identity, pidfd: int) -> None:
        try:
            # An attempt, which is repeated: the handler of a descriptor is not, once that is not watched any more.
            self._loop.watch(pidfd, functools.partial(self._loop.attempt, self.look))
        except OSError:
            os.close(pidfd)
            raise
        self._pidfds[master] = pidfd

    def keep(self) -> None:
        """Puts back the names of masters that live and whose files somebody removed. Raises OSError."""
        for master in self._pidfds:
            masters.register(self._runtime_dir, master)

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
