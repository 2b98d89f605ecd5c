"""Pools, cache and journal for people: a line for each, with the figures that say whether it works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MB = 1024 * 1024
_NAMES = {"database": "Postgres pool", "redis": "Redis pool", "http": "original API pool"}


def store_rows(status: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What, its state, its figures; nothing of a supervisor that says nothing about stores."""
    stores = status.get("stores")
    if not stores:
        return
    for pool, found in stores["connection_pools"].items():
        yield _NAMES[pool], found["state"], _pool(found)
    for level in ("l1", "l2"):
        found = stores["cache"][level]
        yield f"cache {level.upper()}", found["state"], _level(found)
    yield "cached together", "", _flights(stores["cache"]["single_flight"])
    journal = stores["journal"]
    yield "journal", journal["backend"], _journal(journal)


def _pool(found: dict[str, Any]) -> str:
    if found["in_use"] is None:
        return ""
    return (
        f"{found['in_use']} in use, {found['idle']} idle, most {found['max_connections']}; {found['waiting']} waiting, "
        f"{found['wait_s']:.1f} s waited; {found['opened']} opened, {found['lost']} lost, {found['errors']} errors"
    )


def _level(found: dict[str, Any]) -> str:
    if found["hits"] is None:
        return ""
    told = [f"{found['hits']} hits, {found['misses']} misses ({found['hit_rate']:.0%}), {found['bypassed']} bypassed"]
    if found["bytes"] is not None:
        told.append(f"{found['entries']} entries, {found['bytes'] / _MB:.1f} of {found['max_bytes'] / _MB:.0f} MB")
    if found["age_s"] is not None:
        told.append(f"hits {found['age_s']:.0f} s old")
    return "; ".join([*told, f"{found['torn']} torn"])


def _flights(found: dict[str, Any]) -> str:
    if found["leader"] is None:
        return ""
    return f"{found['leader']} leaders, {found['follower']} followers, {found['takeover']} takeovers"


def _journal(found: dict[str, Any]) -> str:
    """The stages that there are, and how far behind the last is."""
    counted = ("recorded", "stored", "sent", "rejected", "lost")
    told = [f"{found[stage]} {stage}" for stage in counted if found[stage] is not None]
    if found["backlog"]:
        told.append(f"{found['backlog']} to go, the oldest for {found['oldest_s']:.1f} s")
    return ", ".join(told)
