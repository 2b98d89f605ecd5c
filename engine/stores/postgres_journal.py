"""The journal in Postgres: rows go in once however often they are sent, and one that is refused holds up nobody.

A batch is copied into a temporary table, as the bytes that the archive has; from there the server takes them apart and
inserts them where their key is not there yet, in one transaction. Whatever the answer to its COMMIT was, if any, it can
be sent again.

Imports psycopg: only for processes in which a Postgres is configured.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import psycopg

from engine.config import Settings
from engine.crash_points import reach
from engine.errors import StoreDenied, StoreUnavailable
from engine.shm.process_row import ProcessRow
from engine.stores.journal_record import JournalRow, StoredRecord
from engine.stores.migrations import migrate
from engine.stores.pool_report import PoolReport
from engine.stores.postgres_connection import BoundedConnection
from engine.stores.postgres_pool import PostgresPool
from engine.stores.reachability import one_line

_COLUMNS = ", ".join(JournalRow._fields)
_SERVER_SHARE = 0.9  # of our limit: a server that lives ends a statement by itself, and keeps the connection
_READ_ROWS = 1_000
_DELETE_ROWS = 5_000
_DAY_S = 86_400.0
_FIRST_ID = "0" * 32
_LAST_S = 253_370_764_799.0  # the end of the year 9998: a month later is a date of Python's still
# What Postgres says of a row, and not of itself: a value, a constraint, a trigger of the owner's, a size.
_OF_THE_ROW = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.RaiseException,
    psycopg.errors.ProgramLimitExceeded,
)

_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
_COPIED = struct.Struct(">hidi16siB")  # three fields, each behind its length; the last is jsonb, which begins with a 1

# A view over what has another form would fail for all rows: a row without any segments is refused.
_SEGMENTS = """CASE WHEN jsonb_typeof(body) = 'object' AND jsonb_typeof(coalesce(body -> 'segments', '[]')) = 'array'
    AND NOT coalesce(body @? 'strict $.segments[*] ? (@.type() != "array" || @.size() != 4 || @[0].type() != "number"
        || @[0].floor() != @[0] || @[1].type() != "number" || @[2].type() != "number"
        || @[3].type() != "array")', false)
    AND NOT coalesce(body @? 'strict $.segments[*][3][*] ? (@.type() != "array" || @.size() != 2
        || @[0].type() != "string" || @[1].type() != "number")', false)
    THEN coalesce(body -> 'segments', '[]') END"""
_TYPES = {"status": "integer", "size_bytes": "bigint", "duration_s": "float8", "latency_s": "float8"}
_TYPES["priority"] = "integer"
_DEFAULTS = {"outcome": "ok"}
_FIELDS = ", ".join(
    f"coalesce((body ->> '{name}')::{_TYPES[name]}, 0)"
    if name in _TYPES
    else f"coalesce(body ->> '{name}', '{_DEFAULTS.get(name, '')}')"
    for name in JournalRow._fields[2:-1]
)
_INSERT = (
    f"INSERT INTO nightscan_engine.answers ({_COLUMNS}) SELECT to_timestamp(answered_at), id, {_FIELDS}, {_SEGMENTS}"
    " FROM pg_temp.incoming ON CONFLICT DO NOTHING"
)

_Values = tuple[Any, ...]


class PostgresJournal:
    """The `RemoteJournal` of Postgres. Its pool is its own; but for that, of one thread at a time."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._report: PoolReport | None = None
        self._is_migrated = False
        self._months: set[tuple[int, int]] = set()  # whose partitions were there when last seen

    @classmethod
    def of(cls, settings: Settings) -> PostgresJournal:
        """The one that the settings describe. Raises ConfigError."""
        return cls(PostgresPool.of(settings))

    def open(self) -> None:
        """See `RemoteJournal`."""
        self._pool.open()

    def check(self) -> None:
        """See `RemoteJournal`."""
        self._pool.check()

    def wait_ready(self, timeout_s: float) -> None:
        """Waits for the server. Raises StoreUnavailable, with what it said, when it is not there in time."""
        if not self._pool.wait_ready(timeout_s):
            raise StoreUnavailable(f"Postgres: {self._pool.trouble or 'no answer'}")

    def show(self, row: ProcessRow) -> None:
        """See `RemoteJournal`."""
        if self._report is None:
            self._report = PoolReport(row, "database")
        self._report.show(self._pool.statistics())

    def send(self, records: Sequence[StoredRecord]) -> dict[str, str]:
        """Inserts the rows whose key is not there yet; the ids of those that are refused for good, with the reason.

        Raises StoreUnavailable if it cannot be done just now: then some may be there, and all are to be sent again.
        """
        timely = [record for record in records if 0.0 <= record.answered_at <= _LAST_S]
        late = [record for record in records if not 0.0 <= record.answered_at <= _LAST_S]
        refused = {record.id.hex(): f"{record.answered_at!r} s since 1970 is no time of an answer" for record in late}
        if timely:
            with self._told():
                self._prepare(timely)
                refused.update(self._insert_anew(timely))
        return refused

    def delete_older(self, before_s: float) -> int:
        """Deletes rows answered before that moment, in seconds since 1970; how many. Raises StoreUnavailable."""
        before = _bound(before_s)
        with self._told():
            self._prepare(())
            with self._bounded() as connection:
                query = "SELECT nightscan_engine.forget_months(%s)"
                (deleted,) = connection.execute(query, [before]).fetchone() or (0,)
            self._months.clear()
            while count := self._delete_some(before):
                deleted += count
        return int(deleted)

    def read(self, since_s: float, until_s: float) -> Iterator[JournalRow]:
        """Rows answered from `since_s` on and before `until_s`, by time and id. Raises StoreUnavailable.

        However slow the reader is, no transaction stays open.
        """
        with self._told():
            self._prepare(())
        after = (_bound(since_s), _FIRST_ID)
        while rows := self._read_some(after, _bound(until_s)):
            yield from rows
            after = (_moment(rows[-1].answered_at), rows[-1].id)

    def migrate(self) -> bool:
        """Makes or changes the tables; whether there was anything to do. Raises StoreUnavailable."""
        with self._told(), self._pool.acquire() as connection:
            changed = migrate(connection)
        self._is_migrated = True
        return changed

    def close(self) -> None:
        """See `RemoteJournal`."""
        self._pool.close()
        if self._report is not None:
            self._report.end()

    # --- steps ------------------------------------------------------------------------------------------------------

    def _prepare(self, records: Sequence[StoredRecord]) -> None:
        if not self._is_migrated:
            self.migrate()
        days = {int(record.answered_at // _DAY_S) for record in records}
        first_moments = (datetime.fromtimestamp(day * _DAY_S, timezone.utc) for day in days)
        missing = {(moment.year, moment.month) for moment in first_moments} - self._months
        for year, month in sorted(missing):
            with self._pool.acquire() as connection:
                first = datetime(year, month, 1, tzinfo=timezone.utc)
                connection.execute("SELECT nightscan_engine.make_month(%s)", [first])
            self._months.add((year, month))

    def _insert_anew(self, records: Sequence[StoredRecord]) -> dict[str, str]:
        try:
            self._copy(records)
        except _OF_THE_ROW:
            # Of a month that has been dropped since it is said too.
            self._months.clear()
            self._prepare(records)
            return self._insert(records)
        return {}

    def _insert(self, records: Sequence[StoredRecord]) -> dict[str, str]:
        """The ids of those refused, with the reason: found by halves."""
        try:
            self._copy(records)
        except _OF_THE_ROW as error:
            if len(records) == 1:
                return {records[0].id.hex(): error.diag.message_primary or type(error).__name__}
            middle = len(records) // 2
            return self._insert(records[:middle]) | self._insert(records[middle:])
        return {}

    def _copy(self, records: Sequence[StoredRecord]) -> None:
        with self._bounded() as connection:
            with connection.cursor() as cursor:
                cursor.execute(
                    "CREATE TEMPORARY TABLE incoming (answered_at float8, id uuid, body jsonb) ON COMMIT DROP"
                )
                with cursor.copy("COPY pg_temp.incoming FROM STDIN (FORMAT BINARY)") as copy:
                    copy.write(b"".join([_COPY_HEAD, *map(_copied, records), _COPY_END]))
                reach("postgres.copied")
                cursor.execute(_INSERT.encode())
                reach("postgres.inserted")
        reach("postgres.committed")

    def _delete_some(self, before: datetime) -> int:
        with self._bounded() as connection:
            return connection.execute(
                "DELETE FROM nightscan_engine.answers WHERE (answered_at, id) IN"
                " (SELECT answered_at, id FROM nightscan_engine.answers WHERE answered_at < %s"
                "  ORDER BY answered_at, id LIMIT %s)",
                [before, _DELETE_ROWS],
            ).rowcount

    def _read_some(self, after: tuple[datetime, str], until: datetime) -> list[JournalRow]:
        columns = _COLUMNS.replace("answered_at, id,", "extract(epoch FROM answered_at)::float8, id,", 1)
        query = (
            f"SELECT {columns} FROM nightscan_engine.answers"
            " WHERE answered_at >= %s AND answered_at < %s AND (answered_at, id) > (%s, %s::uuid)"
            " ORDER BY answered_at, id LIMIT %s"
        )
        with self._told(), self._bounded() as connection:
            found = connection.execute(query.encode(), [after[0], until, *after, _READ_ROWS])
            return [_row(values) for values in found]

    @contextmanager
    def _bounded(self) -> Iterator[BoundedConnection]:
        """A transaction that the server ends by itself, if it lives, before we lose patience."""
        limit_ms = max(1, int(self._pool.command_timeout_s * _SERVER_SHARE * 1000))
        with self._pool.acquire() as connection, connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = {limit_ms}".encode())
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What psycopg raises is told as an error of ours."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreDenied(f"Postgres: {one_line(error)}") from error
        except psycopg.Error as error:
            if isinstance(error, psycopg.ProgrammingError):  # somebody has removed the tables: they are looked for anew
                self._is_migrated = False
                self._months.clear()
            raise StoreUnavailable(f"Postgres: {one_line(error)}") from error


def _copied(record: StoredRecord) -> bytes:
    answered_at, id, body = record
    return _COPIED.pack(3, 8, answered_at, 16, id, len(body) + 1, 1) + body


def _row(values: _Values) -> JournalRow:
    answered_at, id, *others, segments = values
    told = tuple((index, start_s, end_s, tuple(map(tuple, top))) for index, start_s, end_s, top in segments)
    return JournalRow._make((answered_at, id.hex, *others, told))


def _moment(time_s: float) -> datetime:
    """To the microsecond. Raises ValueError for what is no time between 1970 and 9998."""
    if not 0.0 <= time_s <= _LAST_S:
        raise ValueError(f"{time_s!r} s since 1970 is no time of an answer")
    return datetime.fromtimestamp(time_s, timezone.utc)


def _bound(time_s: float) -> datetime:
    """Of a range that may begin before, or end after, all that there are."""
    return _moment(min(max(0.0, time_s), _LAST_S))
