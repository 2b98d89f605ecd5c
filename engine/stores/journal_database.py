"""The database that the settings name for the journal, with all that its users ask of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

from engine.config import Settings
from engine.errors import ConfigError
from engine.shm.process_row import ProcessRow
from engine.stores.journal_record import JournalRow
from engine.stores.sender import JournalDatabase

_log = logging.getLogger(__name__)


class RemoteJournal(JournalDatabase, Protocol):
    """A `JournalDatabase` with its connections. Every method but `open`, `show` and `close` raises StoreUnavailable."""

    def open(self) -> None:
        """Begins to connect, and returns at once."""

    def check(self) -> None:
        """Nothing, at once, unless the server is known to be away."""

    def wait_ready(self, timeout_s: float) -> None:
        """Waits for the server; says why it is not there in time."""

    def show(self, row: ProcessRow) -> None:
        """Writes what the connections do into the row of this process. For one thread."""

    def migrate(self) -> bool:
        """Makes or changes the tables; whether there was anything to do."""

    def read(self, since_s: float, until_s: float) -> Iterator[JournalRow]:
        """Rows answered from `since_s` on and before `until_s`, in seconds since 1970, by time and id."""

    def close(self) -> None:
        """Within a bounded time. Idempotent."""


def migration_script() -> str:
    """The SQL that brings an empty database, or an older one of ours, to this version, for whoever owns it."""
    from engine.stores.migrations import script  # only who asks pays for psycopg's memory

    return script()


def database_of(settings: Settings) -> RemoteJournal | None:
    """None: no database is named, or there is no journal.

    Raises ConfigError for an address that is none. One in DATABASE_URL may be meant for somebody else's driver: then a
    line says that it is not used.
    """
    if not settings.database_url or settings.journal != "on":
        return None
    from engine.stores.postgres_journal import PostgresJournal  # only who has a Postgres pays for psycopg's memory

    try:
        return PostgresJournal.of(settings)
    except ConfigError as error:
        if settings.sources["database_url"] != "environment DATABASE_URL":
            raise
        _log.warning("%s; ignored", error)
        return None
