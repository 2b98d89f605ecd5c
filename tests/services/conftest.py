"""Servers that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
