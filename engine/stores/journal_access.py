"""The journal as people's commands see it, whether or not an engine runs that moves it."""

from __future__ import annotations

import os
import select
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.clock import Deadline
from engine.core.retention import RetentionPolicy
from engine.errors import StoreUnavailable
from engine.launch.locks import LockFile, living_holder
from engine.stores.archive import DELETED_AT_ONCE, Archive
from engine.stores.archive_schema import damaged, database_path
from engine.stores.mover import Mover
from engine.stores.spool import spool_dir
from engine.stores.spool_reader import SpoolReader

JOURNAL_LOCK = "journal.lock"

_CAUGHT_UP_S = 3.0  # arbitrary, many times what an engine that runs takes
_LOOK_S = 0.05
_FOR_EVER = RetentionPolicy(0, 1 << 62)


class _Uncounted:
    """Whoever only looks counts nothing."""

    def add(self, name: str, n: int = 1) -> None:
        """See `Counting`."""

    def set(self, name: str, value: int) -> None:
        """See `Counting`."""


def try_lock(state_dir: Path) -> LockFile | None:
    """The right to move the journal of the folder; None while another process has it. Raises OSError."""
    return LockFile.try_take(state_dir / JOURNAL_LOCK)


def mover_pid(state_dir: Path) -> int:
    """Who moves the journal; 0 if nobody does."""
    holder = living_holder(state_dir / JOURNAL_LOCK)
    return holder.pid if holder is not None else 0


def become_owner(state_dir: Path) -> None:
    """Has root go on as whoever the folder belongs to: files of root's in it would end the engine's own writing there.

    For a command alone, which does nothing else afterwards.
    """
    if os.geteuid() != 0 or not state_dir.exists():
        return
    owner = state_dir.stat()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)


@contextmanager
def archive_of(state_dir: Path) -> Iterator[Archive]:
    """The archive with all that has been recorded by now. Raises StoreUnavailable where there is none, or a broken one.

    Where no engine moves the spools they are moved here.
    """
    try:
        if not database_path(state_dir).exists() and not SpoolReader(spool_dir(state_dir)).files():
            kept = damaged(state_dir)
            aside = f"; a damaged one was set aside as {kept[-1]}" if kept else ""
            raise StoreUnavailable(f"there is no journal in {state_dir}{aside}")
        _catch_up(state_dir)
        archive = Archive.open(state_dir)
        try:
            yield archive
        finally:
            archive.close()
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{database_path(state_dir)}: {error}") from error


def delete_older(archive: Archive, before_s: float) -> int:
    """Deletes all rows answered before that moment, a bounded number at a time; how many."""
    total = 0
    while True:
        rows = archive.delete_older(before_s).rows
        archive.give_back()
        total += rows
        if rows < DELETED_AT_ONCE:
            return total


def waiting_bytes(state_dir: Path, archive: Archive) -> int:
    """What of the spools is not in the archive."""
    positions = archive.positions()
    return sum(max(0, size - positions.get(name, 0)) for name, size in SpoolReader(spool_dir(state_dir)).files())


def _catch_up(state_dir: Path) -> None:
    lock = try_lock(state_dir)
    if lock is None:
        _await_mover(state_dir)
        return
    try:
        mover = Mover(state_dir, _FOR_EVER, _Uncounted(), is_sent=False)
        try:
            while mover.move():
                pass
        finally:
            mover.close()
    finally:
        lock.release()


def _await_mover(state_dir: Path) -> None:
    """Until whoever moves has done what is there now; not for long, since perhaps it cannot."""
    seen = SpoolReader(spool_dir(state_dir)).files()
    until = Deadline.after_s(_CAUGHT_UP_S)
    while not until.expired and os.path.exists(database_path(state_dir)):
        archive = Archive.open(state_dir)
        positions = archive.positions()
        archive.close()
        there = {name for name, _ in SpoolReader(spool_dir(state_dir)).files()}
        if all(name not in there or positions.get(name, 0) >= size for name, size in seen):
            return
        select.select([], [], [], _LOOK_S)
