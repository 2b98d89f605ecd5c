"""The threads beside the loop that move the journal: from the spools into the archive, and from there to Postgres.

Two, because a database that hangs must not keep rows from the disk. What a step raises is a trouble of the supervisor's
health, and tried again; it never reaches the loop. One process moves the journal of a folder: whoever has its lock. The
others, of engines that share the folder, ask for the lock every second, and all spools are moved meanwhile.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.config import Settings
from engine.core.health import pause_s
from engine.core.retention import RetentionPolicy
from engine.errors import LoginRefused, SchemaTooNew, StoreAway, StoreDenied, StoreUnavailable, SupervisorRunning
from engine.launch.locks import LockFile
from engine.observe.metrics import Refusing
from engine.shm.process_row import ProcessRow
from engine.stores.archive_schema import damaged
from engine.stores.journal_access import try_lock
from engine.stores.journal_database import RemoteJournal, database_of
from engine.stores.mover import Mover
from engine.stores.sender import Sender
from engine.stores.ticker import Ticker
from engine.supervisor.guard import caught
from engine.supervisor.loop import Loop

_MOVE_EVERY_S = 0.2  # with the move itself, and its fsync, a row waits 0.25 s at most
_LOCK_EVERY_S = 1.0
_TEND_EVERY_S = 10.0
_SEND_EVERY_S = 5.0  # with nothing moved: what is left of an earlier outage, or another process has stored
_MB = 1024 * 1024
_LEAVE_WITHIN_S = 1.0  # of the last move


class StoreThread:
    """Of one supervisor. `start` and `close` are for the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        state_dir: Path,
        policy: RetentionPolicy,
        row: ProcessRow,
        database: RemoteJournal | None,
    ) -> None:
        self._loop = loop
        self._row = row
        self._database = database
        self._state_dir = state_dir
        self._lock: LockFile | None = None  # changed by the mover's thread alone
        self._mover = Mover(state_dir, policy, row, is_sent=database is not None)
        self._sender = Sender(state_dir, database, policy, row) if database is not None else None
        self._tend_at_ns = 0
        self._has_more = self._has_more_to_send = False
        self._failures: dict[str, int] = {}  # step -> how often in a row; of each step by its own thread
        self._leaving: Deadline | None = None
        self._left = threading.Event()
        self._moving = Ticker(self._move, name="journal-move")
        self._sending = Ticker(self._send, name="journal-send")

    @classmethod
    def of(cls, loop: Loop, settings: Settings, row: ProcessRow) -> StoreThread:
        """Of the journal that the settings describe. Raises ConfigError."""
        policy = RetentionPolicy(settings.journal_retention_days, settings.journal_max_mb * _MB)
        return cls(loop, Path(settings.state_dir), policy, row, database_of(settings))

    def start(self) -> None:
        """Returns at once."""
        if self._database is not None:
            self._database.open()
        self._moving.wake()

    def close(self) -> None:
        """Moves once more what there is, within a bounded time. Idempotent."""
        if self._leaving is None:
            self._leaving = Deadline.after_s(_LEAVE_WITHIN_S)
            self._sending.close(_LEAVE_WITHIN_S)
            self._moving.wake()
            self._left.wait(_LEAVE_WITHIN_S)
            self._moving.close(_LEAVE_WITHIN_S)
            if self._database is not None:
                self._database.close()

    # --- in the mover's thread --------------------------------------------------------------------------------------

    def _move(self) -> float | None:
        """The pause until the next step."""
        if self._left.is_set():
            return None
        if self._leaving is not None:
            self._leave(self._leaving)
            return None
        if self._database is not None:
            self._database.show(self._row)
        failed_s = self._attempt("journal.lock", self._take_or_keep)
        self._row.set("journal.moving", int(self._lock is not None))
        if self._lock is None:
            return failed_s or _LOCK_EVERY_S
        failed_s = self._attempt("journal.move", self._move_once)
        self._row.set("journal.failing", int(failed_s > 0))
        if now_ns() >= self._tend_at_ns:
            self._attempt("journal.tend", self._tend)
        self._attempt("journal.look", self._look)
        if self._sender is not None:
            self._sending.wake()
        return failed_s or (0.0 if self._has_more else _MOVE_EVERY_S)

    def _leave(self, until: Deadline) -> None:
        while self._lock is not None and not until.expired:
            if self._attempt("journal.move", self._move_once) or not self._has_more:
                break
        self._mover.close()
        if self._lock is not None:
            self._lock.release()
        self._left.set()

    def _take_or_keep(self) -> None:
        """Raises SupervisorRunning if somebody removed the file of our lock and another process has made it anew."""
        if self._lock is not None:
            try:
                self._lock.keep()
            except SupervisorRunning:
                self._lock.release()
                self._lock = None
                raise
        else:
            self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = try_lock(self._state_dir)

    def _move_once(self) -> None:
        self._has_more = False
        self._has_more = self._mover.move()

    def _tend(self) -> None:
        """Deletes what is too old or too much. Raises StoreUnavailable while a damaged archive lies there."""
        if self._mover.prune():
            return  # there may be more
        self._tend_at_ns = now_ns() + int(_TEND_EVERY_S * NS_PER_S)
        for path in damaged(self._state_dir):
            raise StoreUnavailable(f"{path} was damaged, and set aside: remove it once it has been looked at")

    def _look(self) -> None:
        """For the statistics: what waits, and since when; whether something was set aside."""
        self._row.set("journal.damaged", int(bool(damaged(self._state_dir))))
        backlogs = [self._mover.waiting()]
        try:
            if self._sender is not None:
                backlogs.append(self._mover.unsent())
        finally:
            oldest_s = min((backlog.oldest_s for backlog in backlogs if backlog.rows), default=0.0)
            self._row.set("journal.backlog", sum(backlog.rows for backlog in backlogs))
            self._row.set("journal.oldest_at_ms", int(oldest_s * 1000))

    # --- in the sender's thread -------------------------------------------------------------------------------------

    def _send(self) -> float | None:
        if self._sender is None or self._leaving is not None:
            return None
        failed_s = self._attempt("journal.send", self._send_once)
        if not failed_s and not self._has_more_to_send:
            self._attempt("journal.send-prune", self._sender.prune)
        return failed_s or (0.0 if self._has_more_to_send else _SEND_EVERY_S)

    def _send_once(self) -> None:
        assert self._sender is not None and self._database is not None
        self._has_more_to_send = False
        try:
            self._database.check()  # before a batch is read, several times a second, that nobody would take
            self._has_more_to_send = self._sender.send()
        except StoreUnavailable as error:
            self._row.set("database.refusing", _refusing(error))
            raise
        self._row.set("database.refusing", Refusing.NO)

    # --- in either --------------------------------------------------------------------------------------------------

    def _attempt(self, step: str, act: Callable[[], None]) -> float:
        """The pause in seconds after which to try again if `act` failed; 0.0 if it did not."""
        error = caught(act)
        if error is not None:
            self._failures[step] = self._failures.get(step, 0) + 1
            self._loop.call_soon_threadsafe(functools.partial(self._loop.guard.failed, step, step, error))
            return pause_s(self._failures[step])
        if self._failures.pop(step, 0):
            self._loop.call_soon_threadsafe(functools.partial(self._loop.guard.over, step))
        return 0.0


def _refusing(error: StoreUnavailable) -> Refusing:
    for kind, refusing in (
        (SchemaTooNew, Refusing.TOO_NEW),
        (LoginRefused, Refusing.LOGIN),
        (StoreDenied, Refusing.DENIED),
        (StoreAway, Refusing.NO),
    ):
        if isinstance(error, kind):
            return refusing
    return Refusing.FAILING
