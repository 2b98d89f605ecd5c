"""When the state file is written: before an order is begun, and after everything else as soon as that can be."""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import StateNotWritten
from engine.supervisor.guard import caught
from engine.supervisor.ledger import Ledger, State
from engine.supervisor.loop import Loop, Timer


class Recorder:
    """The only one that writes the state. `is_on`: not while it is being restored, nor once nothing is desired."""

    def __init__(self, loop: Loop, ledger: Ledger, state: Callable[[], State]) -> None:
        """`state` says what there is to write."""
        self._loop = loop
        self._ledger = ledger
        self._state = state
        self._again: Timer | None = None
        self.is_on = False

    def persist(self) -> None:
        """Writes what there is, now or as soon as it can be: nobody waits for it, and the next one writes all of it."""
        error = caught(self._write) if self.is_on else None
        if error is not None:  # whatever it is: what serves does not depend on a file
            self._write_later(error)

    def commit(self) -> None:
        """Writes what an order asks for. Raises StateNotWritten, and the order must then not be begun."""
        error = caught(self._write) if self.is_on else None
        if error is not None:
            self._write_later(error)
            raise StateNotWritten(f"not begun, because the state of the engine cannot be written: {error}") from error

    def keep_files(self) -> None:
        """Puts back what was removed. Raises OSError."""
        if self.is_on:
            self._ledger.put_back_factories()
            if not self._ledger.is_in_place:
                self.persist()

    def _write(self) -> None:
        self._ledger.write(self._state())
        self._loop.guard.over("state")

    def _write_later(self, error: Exception) -> None:
        pause_s = self._loop.guard.failed("state", "Ledger.write", error)
        if self._again is None:
            self._again = self._loop.call_after(pause_s, self._write_once_more)

    def _write_once_more(self) -> None:
        self._again = None
        self.persist()
