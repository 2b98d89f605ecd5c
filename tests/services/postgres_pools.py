"""Pools of the tests, and what the server says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from engine.stores.postgres_pool import PostgresPool
from tests.services.postgres_server import PASSWORD, SUPERUSER, PostgresServer

APPLICATION = "nightscan-engine"


@contextmanager
def pool_of(
    server: PostgresServer,
    *,
    address: str = "",
    min_connections: int = 5,
    max_connections: int = 8,
    command_timeout_s: float = 10.0,
) -> Iterator[PostgresPool]:
    """An open pool; `address`: another way to it, or another role."""
    pool = PostgresPool(
        address or server.url(),
        min_connections=min_connections,
        max_connections=max_connections,
        connection_timeout_s=5.0,
        command_timeout_s=command_timeout_s,
    )
    pool.open()
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def counted_sessions(server: PostgresServer) -> Iterator[Callable[[], int]]:
    """Says how many sessions of the engine's the server sees just now."""
    with psycopg.connect(server.url(SUPERUSER), autocommit=True) as watcher:
        yield lambda: _count(watcher)


def _count(watcher: psycopg.Connection[tuple[int]]) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    (count,) = watcher.execute(query, [APPLICATION]).fetchone() or (0,)
    return count


def seconds_until(condition: Callable[[], bool], *, at_most_s: float) -> float:
    """How long it took. Fails where it took longer."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < at_most_s, f"not within {at_most_s} s"
        time.sleep(0.01)
    return time.monotonic() - began


SECRETS = (PASSWORD,)
