"""A cluster: keys at their own servers, a server that freezes or dies, fail-over, and other servers than before."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

import pytest

from engine.stores.redis_address import RedisNode
from engine.stores.redis_pool import RedisPool
from engine.stores.redis_words import Answer, RedisRefusal
from engine.stores.slot_map import SlotMap, slot_map
from tests.services.redis_cluster import PRIMARIES, ClusterNode, RedisCluster
from tests.services.redis_server import RedisServer
from tests.stores.redis_parts import Heard, command_deadline, fetched, l2_of, names, pool_of, stored
from tests.support.wait import wait_for

HEALS_S = 5.0
KEYS = names(64)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(kept=True) as cluster:
        yield cluster


def all_is_stored(pool: RedisPool) -> bool:
    return stored(pool, KEYS) == len(KEYS) and fetched(pool, KEYS) == [b"value"] * len(KEYS)


def test_all_keys_are_served_each_by_its_own_server(cluster: RedisCluster) -> None:
    with pool_of(cluster.url, share=2, minimum=1) as pool:
        wait_for(lambda: all_is_stored(pool), "every key")
        assert len(pool.pools) == PRIMARIES
        assert pool.statistics().max_connections == 2 * PRIMARIES
    counts = [node.command("DBSIZE") for node in cluster.primaries()]
    assert sum(counts) == len(KEYS) and min(counts) > 0


def test_one_server_that_is_named_says_that_it_is_a_cluster(cluster: RedisCluster) -> None:
    replica = next(node for node in cluster.nodes if node not in cluster.primaries())
    with pool_of(f"redis://localhost:{replica.port}", share=1, minimum=1) as pool:
        wait_for(lambda: all_is_stored(pool), "every key")
        assert {node.port for node in (each.node for each in pool.pools)} == {p.port for p in cluster.primaries()}
        assert all(len(node.connections()) <= 1 for node in cluster.nodes)


def test_a_frozen_primary_costs_its_own_keys_alone(cluster: RedisCluster) -> None:
    frozen = cluster.primary_of(KEYS[0])
    with pool_of(cluster.url, share=2, minimum=1) as pool:
        wait_for(lambda: all_is_stored(pool), "every key")
        its_own = {key for key in KEYS if (home := pool.home_of(key)) and home.node.port == frozen.port}
        frozen.freeze()
        try:
            deadline = command_deadline()
            values = fetched(pool, KEYS)
            assert values == [None if key in its_own else b"value" for key in KEYS]
            assert deadline.remaining_s() > -0.1
            wait_for(lambda: "no answer" in pool.trouble, "it is told")
        finally:
            frozen.thaw()
        wait_for(lambda: all_is_stored(pool), "every key again", timeout_s=HEALS_S)
        cluster.wait_whole()


def test_a_fail_over_heals(cluster: RedisCluster) -> None:
    killed = cluster.primary_of(KEYS[0])
    with pool_of(cluster.url, share=2, minimum=1) as pool, l2_of(pool) as l2:
        wait_for(lambda: all_is_stored(pool), "every key")
        cluster.fail_over(killed)
        wait_for(lambda: all_is_stored(pool), "every key again", timeout_s=HEALS_S)
        heard = Heard()
        l2.lookup(b"key", heard)
        assert heard.wait(1) == [None]
        assert killed.port not in {each.node.port for each in pool.pools}
        killed.start()
        cluster.wait_whole()
        assert all_is_stored(pool)


def test_a_primary_that_hands_over_is_followed(cluster: RedisCluster) -> None:
    with pool_of(cluster.url, share=2, minimum=1) as pool:
        wait_for(lambda: all_is_stored(pool), "every key")
        before = cluster.primary_of(KEYS[0])
        heir = next(node for node in cluster.nodes if _replicates(node, before))

        def handed_over() -> bool:
            if cluster.primary_of(KEYS[0]) is not heir:
                heir.command("CLUSTER", "FAILOVER")  # again: the others may just have voted for another
            return cluster.primary_of(KEYS[0]) is heir

        wait_for(handed_over, "it has handed over", step_s=0.5)
        cluster.wait_whole()
        wait_for(lambda: all_is_stored(pool), "every key again", timeout_s=HEALS_S)


def _replicates(node: ClusterNode, primary: ClusterNode) -> bool:
    return node.facts("replication").get("master_port") == str(primary.port)


def test_all_servers_killed_and_started_again_are_used_again(cluster: RedisCluster) -> None:
    with pool_of(cluster.url, share=2, minimum=1) as pool:
        wait_for(lambda: all_is_stored(pool), "every key")
        for node in cluster.nodes:
            node.kill()
        wait_for(lambda: not pool.usable, "it is seen")
        for node in cluster.nodes:
            node.start()
        cluster.wait_ok()
        wait_for(lambda: all_is_stored(pool), "every key again", timeout_s=HEALS_S)
        cluster.wait_whole()


def test_a_server_that_becomes_a_cluster_is_looked_at_again() -> None:
    with ClusterNode() as alone:
        with pool_of(alone.url, ready=False) as pool:
            wait_for(lambda: pool.trouble, "it serves nothing")
            alone.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_for(lambda: all_is_stored(pool), "every key", timeout_s=HEALS_S)
            assert pool.is_cluster


def test_several_names_of_servers_that_are_no_cluster_are_tried_in_turn() -> None:
    with RedisServer() as second:
        with pool_of(f"redis://127.0.0.1:1,127.0.0.1:{second.port}") as pool:
            assert all_is_stored(pool) and not pool.is_cluster


def test_slots_are_those_of_redis(cluster: RedisCluster) -> None:
    for key in KEYS[:8]:
        assert binascii.crc_hqx(key, 0) % 16384 == cluster.nodes[0].command("CLUSTER", "KEYSLOT", key)


def test_a_map_of_the_slots_says_who_has_a_key_and_where_nobody_has() -> None:
    asked = RedisNode("asked", 1)
    said = [[0, 99, [b"first", 7000, b"id"]], [200, 16383, [b"", 7001, b"id"], [b"replica", 7002, b"id"]]]
    slots = slot_map(said, asked)  # type: ignore[arg-type]
    assert slots is not None and slots.nodes == {RedisNode("first", 7000), RedisNode("asked", 7001)}
    homes = {slots.node_of(b"%d" % at) for at in range(3000)}
    assert homes == {RedisNode("first", 7000), RedisNode("asked", 7001), None}
    nothing: list[Answer] = [[], RedisRefusal("ERR"), b"OK", None]
    assert [slot_map(answer, asked) for answer in nothing] == [None] * 4
    assert slot_map([[1, 2], b"odd", [b"a", 3, []]], asked) is None
    assert SlotMap([]).node_of(b"key") is None
