"""Servers that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.postgres_server import PostgresServer
from tests.services.proxy import Proxy
from tests.services.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests of a file."""
    with RedisServer(kept=True) as server:
        yield server


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """A faultless proxy before it."""
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of a file."""
    with PostgresServer(kept=True) as server:
        yield server


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The same one, which a test may do to what it likes; with no tables of ours."""
    yield postgres
    postgres.recover()
    postgres.execute("DROP SCHEMA IF EXISTS nightscan_engine CASCADE")
