"""Brings the tables of the journal to this version, once, however many engines of however many machines start together.

Who finds them as they should be changes nothing and needs no right to: the owner may have made them before.

Imports psycopg: only for processes in which a Postgres is configured.
"""

from __future__ import annotations

import psycopg

from engine.errors import SchemaTooNew, StoreDenied
from engine.stores.journal_schema import GRANTS, LOCK_KEY, STEPS, VERSIONS_TABLE
from engine.stores.postgres_connection import BoundedConnection

VERSION = len(STEPS)
LOCK_TIMEOUT_S = 2
ROLE = "nightscan_writer"  # in the text; any name will do


def migrate(connection: BoundedConnection) -> bool:
    """Whether anything had to be changed.

    Raises SchemaTooNew, StoreDenied if the role may not do it or may not even see it, and psycopg.Error.
    """
    try:
        if _is_current(_version(connection)):
            return False
        with connection.transaction():
            connection.execute(_bytes(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
            before = _version(connection)  # another engine may have been faster
            if not _is_current(before):
                _change(connection, before)
    except psycopg.errors.InsufficientPrivilege as error:
        told = error.diag.message_primary
        raise StoreDenied(f"{told}; its owner can run what `nightscan journal migrate --print` prints") from error
    return True


def script() -> str:
    """What `migrate` does from nothing, and the rights that a role needs then, as SQL for psql."""
    steps = "".join(
        f"{step}\nINSERT INTO nightscan_engine.schema_versions (version) VALUES ({number});\n"
        for number, step in enumerate(STEPS, 1)
    )
    return (
        f"BEGIN;\nSET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s';\nSELECT pg_advisory_xact_lock({LOCK_KEY});\n"
        f"{VERSIONS_TABLE}{steps}COMMIT;\n"
        f"\n-- All that a role needs which writes the journal and does not own it; here it is called {ROLE}.\n"
        f"-- It needs TEMPORARY on the database too, which everybody has unless it was taken away.\n"
        f"-- CREATE ROLE {ROLE} LOGIN PASSWORD '...';{GRANTS.format(role=ROLE)}"
    )


def _change(connection: BoundedConnection, before: int) -> None:
    connection.execute(_bytes(VERSIONS_TABLE))
    for number, step in enumerate(STEPS[before:], before + 1):
        connection.execute(_bytes(step))
        connection.execute("INSERT INTO nightscan_engine.schema_versions (version) VALUES (%s)", [number])


def _version(connection: BoundedConnection) -> int:
    """0: there are no tables yet."""
    # Not by to_regclass: whoever has just waited for the lock may still have in memory that there was no such table.
    found = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = 'nightscan_engine' AND relname = 'schema_versions'"
    )
    if found.fetchone() is None:
        return 0
    query = "SELECT coalesce(max(version), 0) FROM nightscan_engine.schema_versions"
    (version,) = connection.execute(query).fetchone() or (0,)
    return int(version)


def _is_current(version: int) -> bool:
    if version > VERSION:
        raise SchemaTooNew(f"the journal in Postgres has version {version}, and this engine knows {VERSION} at most")
    return version == VERSION


def _bytes(text: str) -> bytes:
    """psycopg takes no text that is not written out where it is run; this one is ours all the same."""
    return text.encode()
