"""Redis killed, frozen, refusing, slow, silent, at the start or under load: nobody waits, and it is used again soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from engine.clock import now_ns
from engine.stores.l2 import L2
from engine.stores.node_pool import NodePool
from engine.stores.redis_pool import RedisPool
from engine.stores.redis_words import Link
from tests.services.proxy import Proxy
from tests.services.redis_server import RedisServer
from tests.stores.redis_parts import MS, Heard, l2_of, pool_of
from tests.support.wait import wait_for

HEALS_S = 5.0
WAITS_MS = 50
SLACK_MS = 100  # this machine computes other things meanwhile
SHARE = 3


class Load:
    """Look-ups all the time, one after the other, in a thread; how long the longest took to be called back."""

    def __init__(self, l2: L2) -> None:
        self.longest_ms = 0.0
        self.count = 0
        self._l2 = l2
        self._ended = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended:
            heard, began_ns = Heard(), now_ns()
            self._l2.lookup(b"%d" % self.count, heard)
            heard.wait(1)
            self.longest_ms = max(self.longest_ms, (now_ns() - began_ns) / MS)
            self.count += 1
            self._l2.store(b"%d" % self.count, b"value" * 1000, 60_000)
            time.sleep(0.001)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(10.0)
        assert not self._thread.is_alive()


class Watcher:
    """The most connections of ours that the server has seen at a time, looked at all the time while it answers."""

    def __init__(self, server: RedisServer) -> None:
        self.most = 0
        self._server = server
        self._ended = False
        self._may_ask = threading.Lock()  # taken by whoever has made the server answer nothing
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended:
            with self._may_ask:
                self.most = max(self.most, len(self._server.connections()))
            time.sleep(0.002)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(10.0)

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """While the server cannot be asked."""
        with self._may_ask:
            yield


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(kept=True) as server:
        yield server


def heals(pool: RedisPool) -> None:
    """It is used again in time."""
    wait_for(lambda: pool.usable and pool.trouble == "", "Redis is used again", timeout_s=HEALS_S)


@pytest.mark.parametrize("fault", ["deafen", "refuse", "cut", "slow", "drip"])
def test_a_fault_under_load_keeps_nobody_waiting_and_heals(server: RedisServer, fault: str) -> None:
    with Proxy(server.port) as proxy, pool_of(f"redis://127.0.0.1:{proxy.port}", share=SHARE) as pool:
        with l2_of(pool) as l2, Load(l2) as load, Watcher(server) as watcher:
            wait_for(lambda: l2.statistics().stored > 20, "load")
            begin_fault: dict[str, Callable[[], None]] = {
                "deafen": proxy.deafen, "refuse": proxy.refuse, "cut": proxy.cut,
                "slow": lambda: proxy.slow(0.2), "drip": lambda: proxy.drip(0.03),
            }  # fmt: skip
            begin_fault[fault]()
            if fault != "cut":
                wait_for(lambda: pool.trouble and not pool.usable, "it is seen")
                before = load.count
                wait_for(lambda: load.count > before + 100, "nobody waits")
                time.sleep(0.5)  # what it does meanwhile is what is tested
            proxy.come_back()
            heals(pool)
            stored = l2.statistics().stored
            wait_for(lambda: l2.statistics().stored > stored + 20, "values are stored again")
        assert load.longest_ms < WAITS_MS + SLACK_MS
        assert watcher.most <= SHARE


def test_a_frozen_server_finds_no_more_connections_than_allowed_when_it_goes_on() -> None:
    with RedisServer() as server, pool_of(server.url, share=SHARE, minimum=SHARE) as pool, l2_of(pool) as l2:
        with Load(l2) as load, Watcher(server) as watcher:
            wait_for(lambda: l2.statistics().stored > 20, "load")
            with watcher.looking_away():
                server.freeze()
                wait_for(lambda: not pool.usable, "it is seen")
                opened = pool.statistics().opened
                time.sleep(1.5)  # what it does meanwhile is what is tested
                assert pool.statistics().opened == opened  # those that are there are waited for
                server.thaw()
            heals(pool)
            wait_for(lambda: server.command("PING"), "it answers")
        assert load.longest_ms < WAITS_MS + SLACK_MS
        assert watcher.most <= SHARE
        assert pool.statistics().lost == 0


def test_a_killed_server_is_used_again_when_it_is_back(server: RedisServer) -> None:
    with pool_of(server.url, share=SHARE) as pool, l2_of(pool) as l2, Load(l2) as load:
        wait_for(lambda: l2.statistics().stored > 20, "load")
        server.kill()
        wait_for(lambda: not pool.usable and "refused" in pool.trouble, "it is seen")
        time.sleep(0.5)  # so that pauses between attempts grow
        server.start()
        heals(pool)
        assert load.longest_ms < WAITS_MS + SLACK_MS


@pytest.mark.parametrize("fault", ["deafen", "refuse", "slow"])
def test_a_fault_at_the_start_delays_nothing_and_heals(server: RedisServer, fault: str) -> None:
    with Proxy(server.port) as proxy:
        begin_fault: dict[str, Callable[[], None]] = {
            "deafen": proxy.deafen, "refuse": proxy.refuse, "slow": lambda: proxy.slow(0.3),
        }  # fmt: skip
        begin_fault[fault]()
        began_ns = now_ns()
        with pool_of(f"redis://127.0.0.1:{proxy.port}", share=SHARE, ready=False) as pool, l2_of(pool) as l2:
            heard = Heard()
            l2.lookup(b"key", heard)
            assert heard.wait(1) == [None]
            assert (now_ns() - began_ns) / MS < SLACK_MS
            if fault != "slow":
                wait_for(lambda: pool.trouble, "why")
            wait_for(lambda: proxy.connections or fault == "refuse", "an attempt")
            proxy.come_back()
            heals(pool)


def test_a_name_that_nobody_resolves_keeps_nobody_waiting() -> None:
    with pool_of("redis://nobody.invalid", ready=False) as pool:
        wait_for(lambda: pool.trouble, "why", timeout_s=30.0)
        assert not pool.usable


def test_look_ups_of_one_moment_are_one_mget(server: RedisServer) -> None:
    with pool_of(server.url, share=1) as pool, l2_of(pool) as l2:
        server.command("CONFIG", "RESETSTAT")
        server.freeze()
        try:
            first, others = Heard(), Heard()
            l2.lookup(b"0", first)
            for at in range(1, 20):
                l2.lookup(b"%d" % at, others)
        finally:
            server.thaw()
        assert [*first.wait(1), *others.wait(19)] == [None] * 20
        heals(pool)
    calls = int(server.facts("commandstats")["cmdstat_mget"].split("calls=")[1].split(",")[0])
    assert calls <= 3


def test_what_cannot_be_queued_is_dropped_and_counted(server: RedisServer) -> None:
    with pool_of(server.url) as pool, l2_of(pool) as l2:
        server.freeze()
        try:
            taken = [l2.store(b"%d" % at, b"x" * (1 << 20), 60_000) for at in range(64)]
        finally:
            server.thaw()
        assert False in taken
        wait_for(lambda: sum(l2.statistics()[3:5]) == 64, "each is stored or dropped")
        assert l2.statistics().dropped >= taken.count(False)
        assert not l2.store(b"key", b"value", 0)  # it would never expire, or at once


def test_only_our_keys_are_written_each_with_an_end_and_nothing_is_flushed(server: RedisServer) -> None:
    server.command("SET", "of another", "program")
    with pool_of(server.url) as pool, l2_of(pool) as l2:
        heard = Heard()
        for at in range(50):
            wait_for(lambda at=at: l2.store(b"%d" % at, b"value", 60_000), "room")  # type: ignore[misc]
            l2.lookup(b"%d" % at, heard)
        heard.wait(50)
        wait_for(lambda: l2.statistics().stored == 50, "all are stored")
    keys = server.command("KEYS", "*")
    ours = [key for key in keys if key.startswith(b"nightscan:cache:v1:")]
    assert set(keys) - set(ours) == {b"of another"}
    assert all(server.command("PTTL", key) > 0 for key in ours)
    said = server.facts("commandstats")
    assert not {"cmdstat_flushdb", "cmdstat_flushall", "cmdstat_del", "cmdstat_scan"} & set(said)


def test_where_look_ups_never_cease_values_are_stored_all_the_same(server: RedisServer) -> None:
    with pool_of(server.url) as pool, l2_of(pool) as l2:
        enough = threading.Event()

        def again(_: bytes | None) -> None:
            if not enough.is_set():
                l2.lookup(b"key", again)  # in the thread of L2: there is always one waiting

        for _ in range(4):
            again(None)
        for at in range(200):
            wait_for(lambda at=at: l2.store(b"%d" % at, b"value", 60_000), "room")  # type: ignore[misc]
        wait_for(lambda: l2.statistics().stored >= 150, "they are stored")
        enough.set()


def test_while_a_server_is_frozen_the_keeper_rests_between_its_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is late is looked for every 50 ms, and not at once again because it was late at the last look."""
    looks: list[int] = []
    take_late = NodePool.take_late

    def counted(pool: NodePool) -> list[Link]:
        looks.append(now_ns())
        return take_late(pool)

    monkeypatch.setattr(NodePool, "take_late", counted)
    with RedisServer() as frozen, pool_of(frozen.url) as pool:
        frozen.freeze()
        wait_for(lambda: not pool.usable, "it is seen")
        before, began_ns = len(looks), now_ns()
        wait_for(lambda: now_ns() - began_ns > 1000 * MS, "a second passes")
        assert len(looks) - before <= 40
        frozen.thaw()
