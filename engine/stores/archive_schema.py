"""The tables of `journal.db`, and what makes an SQLite file ours.

| table | what a row is | only writer |
|---|---|---|
| `records` | one answer: `seq` in order of arrival, its key, its body as it was in the spool | mover; pruning deletes |
| `spools` | up to which byte a spool is in `records` | mover, in the transaction that inserts |
| `progress` | `sent`: the highest `seq` that Postgres has, with all below it | sender |
| `rejected` | a row that Postgres refused, and why | sender |

The views are for people: `answers` has the fields of a body by name, `detections` one row for each label of a window.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from engine.errors import StoreUnavailable

VERSION = 1
_BUSY_S = 5.0  # a prune or an export may be writing, or checkpointing
_WAL_BYTES = 16 << 20

_TABLES = """
CREATE TABLE records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, answered_at REAL NOT NULL, id BLOB NOT NULL, body BLOB NOT NULL
);
CREATE INDEX records_by_time ON records (answered_at);
CREATE TABLE spools (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE progress (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO progress VALUES ('sent', 0);
CREATE TABLE rejected (seq INTEGER PRIMARY KEY, reason TEXT NOT NULL);
CREATE VIEW answers AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', answered_at, 'unixepoch') AS time, lower(hex(id)) AS id,
    coalesce(json_extract(fields, '$.request_id'), '') AS request_id,
    coalesce(json_extract(fields, '$.deployment'), '') AS deployment,
    coalesce(json_extract(fields, '$.model_version'), '') AS model_version,
    coalesce(json_extract(fields, '$.route'), '') AS route, coalesce(json_extract(fields, '$.status'), 0) AS status,
    coalesce(json_extract(fields, '$.outcome'), '') AS outcome,
    coalesce(json_extract(fields, '$.error_code'), '') AS error_code,
    coalesce(json_extract(fields, '$.file'), '') AS file,
    coalesce(json_extract(fields, '$.size_bytes'), 0) AS size_bytes,
    coalesce(json_extract(fields, '$.duration_s'), 0.0) AS duration_s,
    coalesce(json_extract(fields, '$.latency_s'), 0.0) AS latency_s,
    coalesce(json_extract(fields, '$.cache'), '') AS cache, coalesce(json_extract(fields, '$.client'), '') AS client,
    coalesce(json_extract(fields, '$.priority'), 0) AS priority, json_extract(fields, '$.segments') AS segments
FROM (SELECT answered_at, id, CAST(body AS TEXT) AS fields FROM records);
CREATE VIEW detections AS
SELECT answers.time, answers.file, json_extract(window.value, '$[0]') AS segment,
    json_extract(window.value, '$[1]') AS start_s, json_extract(window.value, '$[2]') AS end_s,
    json_extract(class.value, '$[0]') AS label, json_extract(class.value, '$[1]') AS probability, answers.request_id
FROM answers, json_each(answers.segments) AS window, json_each(window.value, '$[3]') AS class;
"""


def database_path(state_dir: Path) -> Path:
    """Where the archive of a journal lies."""
    return state_dir / "journal.db"


def connect(path: Path) -> sqlite3.Connection:
    """The database, made if there is none; for one thread at a time. No transaction is begun but by a statement.

    Raises sqlite3.Error, and StoreUnavailable for one that a later version of ours made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite gives its other files the same mode
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)  # for an interrupt, too: whoever called has nothing to close
        _prepare(connection, path)
        undo.pop_all()
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no database, or a broken one: its subclasses are about locks, disks and statements."""
    return type(error) is sqlite3.DatabaseError


def set_aside(path: Path, at_s: float) -> Path:
    """Gives a damaged database another name, under which nobody of ours looks at it. Raises OSError."""
    kept = path.with_name(f"{path.name}.{int(at_s)}.damaged")
    for suffix in ("-wal", "-shm"):  # first: beside a new database of this name they would be applied to that
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + suffix))
    path.rename(kept)
    return kept


def damaged(state_dir: Path) -> list[Path]:
    """What was set aside and lies there still."""
    return sorted(state_dir.glob(f"{database_path(state_dir).name}.*.damaged"))


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreUnavailable(f"{path} has version {version}, this program knows {VERSION}")
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before there is anything in it
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if version == 0:
        _make(connection)


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody was quicker
        for statement in _TABLES.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
