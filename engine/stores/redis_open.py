"""Redis as one process has it, where a `redis_url` is set."""

from __future__ import annotations

from typing import NamedTuple

from engine.config import Settings
from engine.shm.process_row import ProcessRow
from engine.stores.l2 import L2
from engine.stores.redis_address import redis_address
from engine.stores.redis_keys import RedisKeys
from engine.stores.redis_pool import RedisPool


class RedisStore(NamedTuple):
    """The connections, and the level of the cache that asks over them."""

    pool: RedisPool
    l2: L2

    def close(self) -> None:
        """Within the bounds of both. Idempotent."""
        self.l2.close()
        self.pool.close()


def open_redis(settings: Settings, row: ProcessRow) -> RedisStore | None:
    """None where no `redis_url` is set. Begins to connect, and returns at once; the server may be away.

    Raises ConfigError for a `redis_url` that is no address of Redis.
    """
    address = redis_address(settings)
    if address is None:
        return None
    minimum, open_s = settings.redis_min_connections, settings.redis_connection_timeout
    pool = RedisPool(address, row, minimum=minimum, open_s=open_s)
    pool.open()
    return RedisStore(pool, L2(RedisKeys(pool), row))
