"""A pickled factory that came with an order: stored before the order is begun, gone if it is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from engine.clock import now_ns
from engine.errors import StateNotWritten
from engine.supervisor.ledger import Ledger


class StoredFactory:
    """Owns the descriptor that it is copied from, until `finish`."""

    def __init__(self, ledger: Ledger, deployment: str, memfd: int, forget: Callable[[Path], None]) -> None:
        self._ledger = ledger
        self._deployment = deployment
        self._memfd = memfd
        self._forget = forget
        self.path: Path | None = None  # once it is stored

    def store(self) -> None:
        """In the thread of slow work. Raises StateNotWritten, ProtocolError for what is no sealed memory file."""
        try:
            # The moment, since the number of the version is not known yet; names of files must differ, that is all.
            self.path = self._ledger.store_factory(self._deployment, now_ns(), self._memfd)
        except OSError as error:
            raise StateNotWritten(f"the factory cannot be stored: {error}") from error

    def finish(self, is_refused: bool) -> None:
        """Nothing is done with the order any more. Once; then `store` is not under way."""
        os.close(self._memfd)
        if is_refused and self.path is not None:
            self._forget(self.path)
