"""What tests of Redis have in common: pools on a share of their own, and what they see of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from engine.clock import Deadline
from engine.shm.process_row import ProcessRow
from engine.stores.l2 import L2
from engine.stores.redis_address import parsed
from engine.stores.redis_keys import RedisKeys
from engine.stores.redis_pool import RedisPool

PREFIX = b"nightscan:cache:v1:"
PATIENCE_S = 10.0
MS = 1_000_000


@contextlib.contextmanager
def pool_of(url: str, *, share: int = 4, minimum: int = 2, ready: bool = True) -> Iterator[RedisPool]:
    """Open inside, with a share that nobody changes."""
    row = ProcessRow.private({"redis": share})
    pool = RedisPool(parsed(url), row, minimum=minimum, open_s=5.0)
    pool.open()
    try:
        assert not ready or pool.wait_ready(PATIENCE_S), pool.trouble
        yield pool
    finally:
        pool.close()
        row.close()


@contextlib.contextmanager
def l2_of(pool: RedisPool) -> Iterator[L2]:
    """Over that pool, which outlives it."""
    row = ProcessRow.private()
    l2 = L2(RedisKeys(pool), row)
    try:
        yield l2
    finally:
        l2.close()
        row.close()


def command_deadline() -> Deadline:
    """Now, and as long as anybody waits for Redis."""
    return Deadline.after_s(0.05)


def fetched(pool: RedisPool, keys: Sequence[bytes]) -> list[bytes | None]:
    """What Redis has of these."""
    return RedisKeys(pool).fetch(keys, command_deadline())


def stored(pool: RedisPool, keys: Sequence[bytes], value: bytes = b"value") -> int:
    """How many of these it has taken, for a minute."""
    return RedisKeys(pool).store([(key, value, 60_000) for key in keys], command_deadline())


def names(count: int) -> list[bytes]:
    """Keys of ours, spread over a cluster."""
    return [PREFIX + b"%d" % at for at in range(count)]


class Heard:
    """What L2 calls back, in the order of its calls."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self._more = threading.Condition()

    def __call__(self, value: bytes | None) -> None:
        with self._more:
            self.values.append(value)
            self._more.notify_all()

    def wait(self, count: int) -> list[bytes | None]:
        """Until there are so many."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.values) >= count, PATIENCE_S), self.values
            return list(self.values)
