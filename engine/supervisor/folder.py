"""The runtime directory, looked after: what a cleaner of temporary files removes from it comes back within a second.

Whoever finds no socket, no lock and no name of a master in it would take the engine for dead. Nothing that serves
depends on a file; only those who come later do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.errors import NotReady
from engine.launch.preconditions import prepare_runtime_dir
from engine.supervisor.loop import Loop
from engine.supervisor.master_watch import MasterWatch
from engine.supervisor.slow_work import SlowWork

LOOK_EVERY_S = 1.0
SILENT_FOR_S = 2.0

_FOLDER = ("folder", "folder")


class RuntimeFolder:
    """Each look is made of steps that are guarded one by one: the lock of a full disk must not keep the socket."""

    def __init__(
        self,
        loop: Loop,
        path: Path,
        *,
        lock: Callable[[], None],
        masters: MasterWatch | None,
        files: Callable[[], None] | None = None,
        slow_work: SlowWork | None = None,
    ) -> None:
        """`lock` takes the lock of this process anew, `files` puts back what else it alone can make.

        `slow_work` finds out first whether the disk answers: the loop does not look at one that hangs.
        """
        self._loop = loop
        self._path = path
        self._steps: list[tuple[str, Callable[[], None]]] = [("lock", lock)]
        if masters is not None:
            self._steps.append(("masters", masters.keep))
        if files is not None:
            self._steps.append(("files", files))
        self._slow_work = slow_work
        self._asks = False  # whether the disk answers

    def look(self) -> None:
        """Now, and again every second. For the loop."""
        self._look()
        self._loop.call_after(LOOK_EVERY_S, self.look)  # last: repeated, it would come twice as often from then on

    def _look(self) -> None:
        if self._slow_work is None:
            if self._do("folder", self._make):
                self._do_steps()
        elif not self._asks:
            self._slow_work.submit(self._make, self._answered, self._failed)
            self._asks = True
        elif self._slow_work.busy_s > SILENT_FOR_S:
            silence = NotReady(f"the disk has not answered for {self._slow_work.busy_s:.0f} s")
            self._loop.guard.failed(_FOLDER, "RuntimeFolder.look", silence)

    def _answered(self, _: None) -> None:
        self._asks = False
        self._loop.guard.over(_FOLDER)
        self._do_steps()

    def _failed(self, error: Exception) -> None:
        self._asks = False
        self._loop.guard.failed(_FOLDER, "RuntimeFolder.look", error)

    def _do_steps(self) -> None:
        for name, step in self._steps:
            self._do(name, step)

    def _do(self, name: str, step: Callable[[], None]) -> bool:
        """Not repeated by the loop: the next look comes soon enough."""
        return self._loop.guard.run(("folder", name), step) is None

    def _make(self) -> None:
        prepare_runtime_dir(self._path)
