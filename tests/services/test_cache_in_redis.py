"""Answers in a real Redis: found by another machine, for as long as where they were computed, and never believed."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.clock import NS_PER_S, now_ns
from engine.config import Settings
from engine.shm.l1 import L1
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import MachineGeometry
from engine.shm.process_row import ProcessRow
from engine.stores.cache_value import CachedAnswer, CachedRecording, CachedWindow, CacheValue, encoded
from engine.stores.l2 import PREFIX
from engine.stores.lookup import Lookup, Standing
from engine.stores.redis_open import open_redis
from engine.stores.two_level import TwoLevelCache
from tests.conformance import sounds
from tests.conformance.wire import Address
from tests.serving.models import runs_in, watched
from tests.serving.servers import ROUTES, address_of, server
from tests.services.redis_server import RedisServer
from tests.support.wait import wait_for

CLASSES, TTL_S = 4, 60
SCOPE, OTHER_SCOPE = b"a" * 32, b"b" * 32
FILE = memoryview(b"sound")
VALUE = CacheValue(
    CachedRecording(1.0, 16000, 1, "WAV"),
    [CachedWindow(0, 0.0, 1.0, 0)],
    [CachedAnswer(np.array([0.1, 0.2, 0.3, 0.4], np.float32), 2)],
)


class OneMachine:
    """One process of a machine of its own, and Redis beside it."""

    def __init__(self, url: str) -> None:
        self.machine = MachineSegment.create(MachineGeometry(2, 1 << 20, 1))
        self.row = ProcessRow.private({"redis": 4})
        redis = open_redis(Settings(redis_url=url, redis_min_connections=1, redis_max_connections=4), self.row)
        assert redis is not None
        self.redis = redis
        self.cache = TwoLevelCache(self.row, ttl_s=TTL_S, l2=redis.l2)
        self.cache.meet(self.machine)
        wait_for(lambda: redis.l2.usable, "Redis is there")

    def ask(self, scope: bytes = SCOPE) -> tuple[Lookup, Standing]:
        lookup = self.cache.lookup(FILE, "owls")
        assert lookup is not None
        lookup.find(scope, CLASSES)
        lookup.wait()
        return lookup, lookup.advance(0, now_ns() + 30 * NS_PER_S)

    def compute(self, scope: bytes = SCOPE) -> bytes:
        """The key under which it is kept."""
        lookup, standing = self.ask(scope)
        assert standing is Standing.TO_COMPUTE
        lookup.keep(*VALUE, cost_ns=50_000_000)
        return lookup.key

    def expires_at_ms(self, key: bytes) -> int:
        """As this machine's memory has it."""
        l1 = L1(self.machine.fd, self.machine.geometry.l1_at, self.machine.l1_area, self.row.add)
        record = l1.get(key)
        l1.close()
        assert record is not None
        return record.expires_at_ms

    def close(self) -> None:
        self.cache.close()
        self.redis.close()
        self.row.close()
        self.machine.close()


@contextmanager
def machines(redis_server: RedisServer, count: int = 2) -> Iterator[list[OneMachine]]:
    with ExitStack() as stack:
        made = [OneMachine(redis_server.url) for _ in range(count)]
        for machine in made:
            stack.callback(machine.close)
        yield made


def stored_key(key: bytes) -> bytes:
    return PREFIX + key.hex().encode()


def test_another_machine_finds_it_for_as_long_as_the_first(redis_server: RedisServer) -> None:
    ask = redis_server.command
    with machines(redis_server) as (one, other):
        key = one.compute()
        wait_for(lambda: ask("EXISTS", stored_key(key)), "it is stored")
        lookup, standing = other.ask()
        assert standing is Standing.FOUND and lookup.origin == "l2"
        assert lookup.found is not None and encoded(*lookup.found) == encoded(*VALUE)
        assert other.expires_at_ms(key) == one.expires_at_ms(key)
        again, standing = other.ask()
        assert standing is Standing.FOUND and again.origin == "l1"
        assert (other.row.get("l2.hits"), other.row.get("l2.misses"), other.row.get("l1.hits")) == (1, 0, 1)
        assert 0 < ask("PTTL", stored_key(key)) <= TTL_S * 1000


@pytest.mark.parametrize(
    "strange",
    [b"", b"1", b'{"windows": []}', pickle.dumps(VALUE.windows), b"NSL2" + bytes(100), bytes(1 << 20)],
    ids=["empty", "number", "json", "pickle", "zeros", "large"],
)
def test_a_strange_value_at_our_key_is_a_miss_and_is_replaced(redis_server: RedisServer, strange: bytes) -> None:
    ask = redis_server.command
    with machines(redis_server) as (one, other):
        lookup, _ = one.ask(OTHER_SCOPE)
        key = lookup.key
        lookup.let_go()
        ask("SET", stored_key(key), strange, "PX", 60_000)
        assert one.compute(OTHER_SCOPE) == key and one.row.get("l2.torn") == 1
        wait_for(lambda: ask("GET", stored_key(key)) != strange, "it is replaced")
        assert other.ask(OTHER_SCOPE)[1] is Standing.FOUND
        ask("DEL", stored_key(key))


def test_another_kind_of_value_and_another_key_s_value_are_misses(redis_server: RedisServer) -> None:
    ask = redis_server.command
    with machines(redis_server) as (one, other):
        ask("DEL", b"none", *ask("KEYS", PREFIX + b"*"))
        key = one.compute()
        lookup, _ = other.ask(OTHER_SCOPE)
        lookup.let_go()
        wait_for(lambda: ask("EXISTS", stored_key(key)), "it is stored")
        ask("COPY", stored_key(key), stored_key(lookup.key))
        assert other.ask(OTHER_SCOPE)[1] is Standing.TO_COMPUTE
        ask("DEL", stored_key(key))
        ask("RPUSH", stored_key(key), b"a list")
        assert other.ask()[1] is Standing.TO_COMPUTE
        ask("DEL", stored_key(key), stored_key(lookup.key))


def test_a_redis_that_answers_nothing_keeps_nobody_from_computing(redis_server: RedisServer) -> None:
    with machines(redis_server, 1) as (one,):
        redis_server.freeze()
        try:
            assert one.compute()
        finally:
            redis_server.thaw()


def test_a_server_that_starts_anew_answers_from_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    settings = {
        "model_factory": "tests.serving.models:noted", "sample_rate_hz": 8000, "segment_s": 0.5,
        "model_warmup_requests": 0, "model_pool_size": 1, "cache_l1_mb": 16, "redis_url": redis_server.url,
    }  # fmt: skip
    ask, content = redis_server.command, sounds.wav(sounds.tone(1.0))
    found: list[tuple[bool, int, list[object]]] = []
    ask("CONFIG", "RESETSTAT")
    for _ in range(2):
        with server(settings, **watched(tmp_path, takes_s=0.02)) as process:
            address, notes = address_of(process), tmp_path / "notes"
            wait_for(lambda: l2_of(address)["state"] == "ok", "Redis is there")
            before = len(runs_in(notes))
            answer = address.upload(ROUTES[0], content).value
            found.append((answer["cache_hit"], len(runs_in(notes)) - before, answer["segments"]))
            wait_for(lambda: l2_of(address)["stored"] or l2_of(address)["hits"], "it is stored")
    (first_hit, first_runs, first), (hit, runs, second) = found
    assert (first_hit, hit, runs) == (False, True, 0) and first_runs and first == second
    names = ask("KEYS", "*")
    assert names and all(name.startswith(PREFIX) and ask("PTTL", name) > 0 for name in names)
    assert not [name for name in redis_server.facts("commandstats") if "flush" in name]


def l2_of(address: Address) -> dict[str, Any]:
    """What the statistics say of Redis as a level of the cache."""
    found: dict[str, Any] = address.get("/api/optimized/stats").value["cache"]["l2"]
    return found
