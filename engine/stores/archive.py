"""The journal on this machine: an SQLite database with every answer, and how far spools and Postgres are.

What is in it survives the machine: each transaction is on the disk before it counts (`synchronous=FULL`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from engine.errors import StoreUnavailable
from engine.stores.archive_schema import connect, database_path
from engine.stores.journal_record import JournalRow, StoredRecord, row_of

DELETED_AT_ONCE = 5_000  # rows, in one transaction: writers wait meanwhile
_TOGETHER = 20  # rows of one INSERT
_PAGES_AT_ONCE = 2_000  # given back to the disk
_SIZES = ("page_count", "freelist_count", "page_size")


class Backlog(NamedTuple):
    """Rows that are not in Postgres."""

    rows: int
    oldest_s: float  # when the first of them was answered, in seconds since 1970; 0.0: there is none


class Deleted(NamedTuple):
    """What one deletion took."""

    rows: int
    unsent: int  # of them


class Archive:
    """One connection, for one thread at a time. All methods raise sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Use `open`."""
        self._connection = connection
        self._path = path
        self._inode = os.stat(path).st_ino

    @classmethod
    def open(cls, state_dir: Path) -> Archive:
        """The archive of a journal, made if there is none. Raises StoreUnavailable if it is of a later version."""
        path = database_path(state_dir)
        return cls(connect(path), path)

    @property
    def is_current(self) -> bool:
        """Whether it still is what lies under its name: not set aside, not removed."""
        try:
            return os.stat(self._path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()

    # --- from the spools --------------------------------------------------------------------------------------------

    def positions(self) -> dict[str, int]:
        """Spool -> up to which byte it is here."""
        return dict(self._connection.execute("SELECT name, position FROM spools"))

    def store(self, records: Sequence[StoredRecord], read: Mapping[str, tuple[int, int]]) -> None:
        """The records and, per spool, from where to where they were read, in one transaction: so each record is here
        once, whatever is killed when. Raises StoreUnavailable if somebody else has moved one of the spools meanwhile.
        """
        with self._transaction():
            known = self.positions()
            moved = [name for name, (start, _) in read.items() if known.get(name, 0) != start]
            if moved:
                raise StoreUnavailable(f"{moved[0]} is moved by another process, too")
            self._insert(records)
            ends = [(name, end) for name, (_, end) in read.items()]
            self._connection.executemany("INSERT OR REPLACE INTO spools VALUES (?, ?)", ends)

    def forget(self, spools: Iterable[str]) -> None:
        """Of spools that are gone."""
        with self._transaction():
            self._connection.executemany("DELETE FROM spools WHERE name = ?", [(name,) for name in spools])

    # --- to Postgres ------------------------------------------------------------------------------------------------

    @property
    def sent(self) -> int:
        """The highest `seq` that Postgres has, with all below it."""
        return int(self._connection.execute("SELECT value FROM progress WHERE name = 'sent'").fetchone()[0])

    def unsent(self, most: int, most_bytes: int) -> list[tuple[int, StoredRecord]]:
        """The next records to send, with their `seq`, in order: a first one whatever its size, and as many as fit."""
        query = "SELECT seq, answered_at, id, body FROM records WHERE seq > ? ORDER BY seq LIMIT ?"
        found: list[tuple[int, StoredRecord]] = []
        with closing(self._connection.execute(query, (self.sent, most))) as cursor:
            for seq, answered_at, id, body in cursor:
                most_bytes -= len(body)
                if most_bytes < 0 and found:
                    break
                found.append((seq, StoredRecord(answered_at, id, body)))
        return found

    def mark_sent(self, seq: int, rejected: Iterable[tuple[int, str]] = ()) -> None:
        """Everything up to `seq` is in Postgres, but for the rejected (`seq`, reason), which stay here alone."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO rejected VALUES (?, ?)", rejected)
            self._connection.execute("UPDATE progress SET value = max(value, ?) WHERE name = 'sent'", (seq,))

    def backlog(self) -> Backlog:
        """What is still to be sent."""
        first = self._connection.execute(
            "SELECT seq, answered_at FROM records WHERE seq > ? ORDER BY seq LIMIT 1", (self.sent,)
        ).fetchone()
        if first is None:
            return Backlog(0, 0.0)
        last = self._connection.execute("SELECT max(seq) FROM records").fetchone()[0]
        return Backlog(last - first[0] + 1, first[1])

    # --- reading ----------------------------------------------------------------------------------------------------

    def rows(self, since_s: float, until_s: float) -> Iterator[JournalRow]:
        """Answers from `since_s` to before `until_s`, in the order of their keys."""
        found = self._connection.execute(
            "SELECT answered_at, id, body FROM records WHERE answered_at >= ? AND answered_at < ?"
            " ORDER BY answered_at, id",
            (since_s, until_s),
        )
        for answered_at, id, body in found:
            yield row_of(answered_at, id.hex(), body)

    def latest(self, most: int) -> list[JournalRow]:
        """The last answers, the oldest of them first."""
        found = self._connection.execute(
            "SELECT answered_at, id, body FROM records ORDER BY answered_at DESC, id DESC LIMIT ?", (most,)
        )
        return [row_of(answered_at, id.hex(), body) for answered_at, id, body in found][::-1]

    def counts(self) -> dict[str, int]:
        """Rows, those Postgres has refused, and `used_bytes`; takes as long as counting does."""
        rows, rejected = self._connection.execute(
            "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM rejected)"
        ).fetchone()
        return {"rows": rows, "rejected": rejected, "bytes": self.used_bytes()}

    # --- room -------------------------------------------------------------------------------------------------------

    def used_bytes(self) -> int:
        """Of the disk, for what is in it."""
        pages, free, size = [self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES]
        return int((pages - free) * size)

    def delete_older(self, before_s: float, most: int = DELETED_AT_ONCE) -> Deleted:
        """Up to `most` rows answered before that moment."""
        return self._delete("answered_at < ? ORDER BY answered_at", (before_s,), most)

    def delete_oldest(self, *, sent: bool, most: int = DELETED_AT_ONCE) -> Deleted:
        """Up to `most` of the first rows; `sent`: of those that Postgres has."""
        return self._delete("seq <= ? ORDER BY seq", (self.sent if sent else 1 << 62,), most)

    def give_back(self) -> None:
        """Free pages to the disk, a bounded number of them."""
        self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()

    def _insert(self, records: Sequence[StoredRecord]) -> None:
        """Some at a time, which takes three quarters of the time that one by one does."""
        together = len(records) // _TOGETHER * _TOGETHER
        groups = (records[start : start + _TOGETHER] for start in range(0, together, _TOGETHER))
        values = ", ".join(["(?, ?, ?)"] * _TOGETHER)
        flat = (tuple(itertools.chain.from_iterable(group)) for group in groups)
        self._connection.executemany(f"INSERT INTO records (answered_at, id, body) VALUES {values}", flat)
        rest = records[together:]
        self._connection.executemany("INSERT INTO records (answered_at, id, body) VALUES (?, ?, ?)", rest)

    def _delete(self, which: str, values: Sequence[float], most: int) -> Deleted:
        with self._transaction():
            chosen = self._connection.execute(f"SELECT seq FROM records WHERE {which} LIMIT ?", (*values, most))
            found = chosen.fetchall()
            self._connection.executemany("DELETE FROM records WHERE seq = ?", found)
            self._connection.executemany("DELETE FROM rejected WHERE seq = ?", found)
            sent = self.sent
        return Deleted(len(found), sum(seq > sent for (seq,) in found))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with contextlib.ExitStack() as undo:
            undo.callback(self._roll_back)  # for an interrupt, too: the next transaction could not begin
            yield
            self._connection.execute("COMMIT")
            undo.pop_all()

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # what broke it may have ended it
            self._connection.execute("ROLLBACK")
