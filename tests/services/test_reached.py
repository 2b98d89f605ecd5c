"""Whether Redis and Postgres can be reached, as the doctor asks: yes, and why not, without their passwords."""

from __future__ import annotations

import pytest

from engine.config import Settings
from engine.errors import StoreUnavailable
from engine.stores.reached import database_trouble, redis_trouble
from tests.services.postgres_server import PostgresServer
from tests.services.redis_server import RedisServer
from tests.support.server import free_port

SECRET = "hunter2"


def test_what_is_not_configured_is_not_tried() -> None:
    assert redis_trouble(Settings()) is None and database_trouble(Settings()) is None


def test_a_redis_that_answers(redis_server: RedisServer) -> None:
    assert redis_trouble(Settings(redis_url=redis_server.url)) == ""


def test_a_redis_that_is_away_or_does_not_let_us_in(redis_server: RedisServer) -> None:
    for address in (f":{SECRET}@127.0.0.1:{redis_server.port}", f":{SECRET}@127.0.0.1:{free_port()}"):
        with pytest.raises(StoreUnavailable) as met:
            redis_trouble(Settings(redis_url=f"redis://{address}/0"))
        assert str(met.value) and SECRET not in str(met.value)


def test_a_postgres_that_answers_and_one_that_does_not(postgres: PostgresServer) -> None:
    address = f"postgresql://nightscan:{SECRET}@127.0.0.1"
    assert database_trouble(Settings(database_url=postgres.url())) == ""
    with pytest.raises(StoreUnavailable) as met:
        database_trouble(Settings(database_url=f"{address}:{free_port()}/none"))
    assert "refused" in str(met.value) and SECRET not in str(met.value)
