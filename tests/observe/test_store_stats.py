"""What the statistics say of pools, cache and journal: figures of what is configured, and of nothing else."""

from __future__ import annotations

import json

import pytest

from engine.clock import wall_clock_s
from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.observe.metrics import POOLS
from engine.observe.stats import optimization_stats
from engine.observe.store_stats import Totals, cache, connection_pools, journal
from tests.observe.figures import EVERYTHING, NOTHING, POSTGRES, REDIS, totals

ADDED = {"in_use", "idle", "waiting", "opened", "lost", "errors", "wait_s", "breaker"}


def test_the_published_keys_are_there_whatever_is_configured() -> None:
    for settings in (EVERYTHING, NOTHING):
        for found in (None, totals()):
            pools = connection_pools(found, settings)
            assert {"initialized", "min_connections", "max_connections"} | ADDED <= set(pools["database"])
            assert {"initialized", "min_connections", "max_connections"} | ADDED <= set(pools["redis"])
            assert {"initialized", "max_connections"} | ADDED <= set(pools["http"])


@pytest.mark.parametrize("found", [None, totals(redis__opened=7, l1__hits=3, journal__recorded=9)])
def test_what_is_not_configured_has_no_figure_at_all(found: Totals | None) -> None:
    for pool in connection_pools(found, NOTHING).values():
        assert pool["state"] == "not configured" and pool["initialized"] is False
        assert {pool[name] for name in ADDED} == {None}
    kept = cache(found, NOTHING)
    assert kept["ttl_s"] is None and kept["bypassed"] is None and set(kept["single_flight"].values()) == {None}
    for level in ("l1", "l2"):
        assert kept[level].pop("state") == "not configured" and set(kept[level].values()) == {None}
    told = journal(found, NOTHING)
    assert told.pop("backend") == "off" and set(told.values()) == {None}


def test_what_is_configured_but_seen_by_nobody_has_no_figure_either() -> None:
    assert {pool["state"] for pool in connection_pools(None, EVERYTHING).values()} == {"unknown"}
    assert {cache(None, EVERYTHING)[level]["state"] for level in ("l1", "l2")} == {"unknown"}
    assert journal(None, EVERYTHING)["backend"] == "postgres" and journal(None, EVERYTHING)["recorded"] is None


def test_a_pool_shows_the_figures_of_all_processes() -> None:
    counted = {"initialized": 1, "in_use": 2, "idle": 3, "waiting": 4, "opened": 5, "lost": 6, "errors": 7}
    for pool in POOLS:
        found = totals(**{f"{pool}__{name}": value for name, value in counted.items()}, **{f"{pool}__wait_ns": 10**9})
        shown = connection_pools(found, EVERYTHING)[pool]
        assert {name: shown[name] for name in counted} == {**counted, "initialized": True}
        assert (shown["wait_s"], shown["breaker"], shown["state"]) == (1.0, "closed", "ok")


def test_what_nobody_has_open_is_not_said_to_be_well() -> None:
    found = totals(redis__initialized=0, database__initialized=0)
    del found["l1.entries"], found["l1.bytes"]
    shown = connection_pools(found, EVERYTHING)
    assert [shown[pool]["state"] for pool in POOLS] == ["unknown", "unknown", "ok"]
    assert {cache(found, EVERYTHING)[level]["state"] for level in ("l1", "l2")} == {"unknown"}


@pytest.mark.parametrize("state", [BreakerState.HALF_OPEN, BreakerState.OPEN])
def test_a_server_that_was_given_up_is_away(state: BreakerState) -> None:
    shown = connection_pools(totals(redis__breaker=state), EVERYTHING)
    assert shown["redis"]["state"] == "away" and shown["redis"]["breaker"] == state.name.lower()
    assert shown["database"]["state"] == "ok"
    assert cache(totals(redis__breaker=state), EVERYTHING)["l2"]["state"] == "away"


def test_hit_rate_and_age_of_each_level() -> None:
    found = totals(l1__hits=3, l1__misses=1, l1__hit_age_ms=6000, l2__misses=1, l1__bytes=100, l1__entries=2)
    kept = cache(found, EVERYTHING)
    names = ("hit_rate", "age_s", "bytes", "entries")
    assert [kept["l1"][name] for name in names] == [0.75, 2.0, 100, 2]
    assert [kept["l2"][name] for name in names] == [0.0, None, None, None]
    assert kept["ttl_s"] == 3600


def test_l1_without_memory_says_so() -> None:
    assert cache(totals(l1__without_memory=1), EVERYTHING)["l1"]["state"] == "no memory"


@pytest.mark.parametrize(
    ("settings", "backend", "sent"),
    [
        (Settings(), "sqlite", None),
        (Settings(database_url=POSTGRES), "postgres", 3),
        (Settings(redis_url=REDIS), "sqlite", None),
    ],
)
def test_the_journal_counts_up_to_its_last_stage(settings: Settings, backend: str, sent: int | None) -> None:
    moment_ms = int((wall_clock_s() - 5) * 1000)
    found = totals(journal__recorded=5, journal__stored=4, journal__sent=3, journal__moving=1, journal__backlog=2,
                   journal__oldest_at_ms=moment_ms, journal__rejected=1)  # fmt: skip
    told = journal(found, settings)
    assert 5 <= told.pop("oldest_s") < 60
    assert told == {
        "backend": backend, "recorded": 5, "stored": 4, "sent": sent, "backlog": 2, "rejected": 1, "lost": 0,
    }  # fmt: skip


def test_a_journal_that_no_supervisor_of_this_machine_moves_has_no_known_backlog() -> None:
    told = journal(totals(journal__recorded=5), Settings())
    assert (told["recorded"], told["backlog"], told["oldest_s"]) == (5, None, None)


def test_nothing_is_behind_where_there_is_no_oldest_record() -> None:
    assert journal(totals(journal__moving=1), Settings())["oldest_s"] == 0.0


def test_all_of_it_stands_in_the_statistics_and_is_plain_json() -> None:
    for settings in (EVERYTHING, NOTHING):
        found = optimization_stats(None, settings, totals())
        assert {"connection_pools", "cache", "journal", "performance_metrics"} <= set(found)
        assert "hunter2" not in json.dumps(found)
