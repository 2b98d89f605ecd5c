"""What a pool's statistics add to the row of its process, where everybody sees them."""

from __future__ import annotations

from engine.clock import NS_PER_S
from engine.shm.process_row import ProcessRow
from engine.stores.pool import PoolStatistics


class PoolReport:
    """Of one pool, `name` of POOLS. One thread calls it, now and then: what is now is shown, what has grown, added."""

    def __init__(self, row: ProcessRow, name: str) -> None:
        self._row = row
        self._name = name
        self._told: dict[str, int] = {}  # what of the pool's own counts is in the row
        self._shown: PoolStatistics | None = None

    def show(self, found: PoolStatistics) -> None:
        """As of now; nothing is written where nothing has changed."""
        if found == self._shown:
            return
        self._shown = found
        counted = {
            "opened": found.opened,
            "lost": found.lost,
            "errors": found.errors,
            "wait_ns": int(found.wait_s * NS_PER_S),
        }
        grown = {what: count - self._told.get(what, 0) for what, count in counted.items()}
        self._row.add_all((f"{self._name}.{what}", n) for what, n in grown.items() if n > 0)
        self._told.update(counted)
        self._set(1, found.in_use, found.idle, found.waiting, int(found.breaker))

    def end(self) -> None:
        """The pool is closed: its counters stay."""
        self._shown = None
        self._set(0, 0, 0, 0, 0)

    def _set(self, initialized: int, in_use: int, idle: int, waiting: int, breaker: int) -> None:
        row, name = self._row, self._name
        row.set(f"{name}.initialized", initialized)
        row.set(f"{name}.in_use", in_use)
        row.set(f"{name}.idle", idle)
        row.set(f"{name}.waiting", waiting)
        row.set(f"{name}.breaker", breaker)
