"""Rows of the journal for tests; as a program, with an address, a process that sends some."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from engine.stores.journal_record import JournalRow, JournalSegment, StoredRecord
from engine.stores.postgres_journal import PostgresJournal
from engine.stores.postgres_pool import PostgresPool

START_S = 1_795_000_000.25


def row(number: int, *, answered_at: float | None = None, file: str = "", windows: int = 2) -> JournalRow:
    """The `number`th of many, a millisecond after the one before."""
    return JournalRow(
        answered_at=round(START_S + number / 1000, 6) if answered_at is None else answered_at,
        id=f"{number:032x}",
        request_id=f"request-{number}",
        deployment="wildlife",
        model_version="v1",
        route="optimized",
        status=200,
        outcome="ok",
        file=file or f"night-{number}.wav",
        size_bytes=353_000,
        duration_s=10.0,
        latency_s=0.021,
        cache="l1",
        client="10.0.0.7",
        priority=1,
        segments=tuple(window(index) for index in range(windows)),
    )


def window(index: int) -> JournalSegment:
    """Eight seconds with five classes."""
    top = tuple((f"species {place}", 0.5 / (place + 1)) for place in range(5))
    return index, 8.0 * index, 8.0 * index + 8.0, top


def stored(row: JournalRow) -> StoredRecord:
    """The row as the archive has it; whatever is strange about it stays so."""
    body = json.dumps({name: value for name, value in row._asdict().items() if name not in ("answered_at", "id")})
    return StoredRecord(row.answered_at, bytes.fromhex(row.id), body.encode())


def send(journal: PostgresJournal, rows: Sequence[JournalRow]) -> dict[str, str]:
    """Rows, as the archive has them."""
    return journal.send([stored(row) for row in rows])


def main(address: str) -> None:
    """Sends 199 rows, unless a crash point ends it."""
    pool = PostgresPool(
        address, min_connections=1, max_connections=2, connection_timeout_s=5.0, command_timeout_s=10.0
    )
    pool.open()
    pool.wait_ready(10.0)
    send(PostgresJournal(pool), [row(number) for number in range(1, 200)])


if __name__ == "__main__":
    main(sys.argv[1])
