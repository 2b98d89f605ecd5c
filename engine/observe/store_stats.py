"""Pools, cache and journal as the statistics show them: figures of all processes of the machine.

What is not configured says so, and has no figures: a zero would read as one that nobody has used yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.clock import MS_PER_S, NS_PER_S, wall_clock_s
from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.observe.metrics import JOURNAL_STAGES, POOLS, SINGLE_FLIGHT_ROLES

NOT_CONFIGURED = "not configured"
UNKNOWN = "unknown"  # configured, and no process has it open that could say more

Totals = Mapping[str, int]  # of PROCESS_COUNTERS and PROCESS_GAUGES over all processes

_MB = 1024 * 1024


def configured_pools(settings: Settings) -> dict[str, bool]:
    """Pool -> whether there is a server for it."""
    return {
        "database": bool(settings.database_url) and settings.journal == "on",
        "redis": bool(settings.redis_url),
        "http": bool(settings.original_api_url) and settings.fallback_to_original,
    }


def connection_pools(totals: Totals | None, settings: Settings) -> dict[str, Any]:
    """The published keys of each pool, and what its connections do. None: nobody has counted yet."""
    bounds = {
        "database": {
            "min_connections": settings.db_min_connections,
            "max_connections": settings.db_max_connections,
        },
        "redis": {
            "min_connections": settings.redis_min_connections,
            "max_connections": settings.redis_max_connections,
        },
        "http": {"max_connections": settings.http_max_connections},
    }
    configured = configured_pools(settings)
    return {pool: _pool(pool, totals, configured[pool], bounds[pool]) for pool in POOLS}


def _pool(pool: str, totals: Totals | None, is_configured: bool, bounds: dict[str, int]) -> dict[str, Any]:
    found = totals if is_configured else None
    breaker = None if found is None else BreakerState(found[f"{pool}.breaker"])
    return {
        "initialized": found is not None and bool(found[f"{pool}.initialized"]),
        **bounds,
        "state": _state(pool, found, is_configured),
        **{name: None if found is None else found[f"{pool}.{name}"] for name in ("in_use", "idle", "waiting")},
        **{name: None if found is None else found[f"{pool}.{name}"] for name in ("opened", "lost", "errors")},
        "wait_s": None if found is None else found[f"{pool}.wait_ns"] / NS_PER_S,
        "breaker": None if breaker is None else breaker.name.lower(),
    }


def _state(pool: str, found: Totals | None, is_configured: bool) -> str:
    if not is_configured:
        return NOT_CONFIGURED
    if found is None or not found[f"{pool}.initialized"]:
        return UNKNOWN
    return "ok" if found[f"{pool}.breaker"] == BreakerState.CLOSED else "away"


def cache(totals: Totals | None, settings: Settings) -> dict[str, Any]:
    """Both levels, and what the requests that wanted the same at the same time had of each other."""
    l1, l2 = settings.cache_l1_mb > 0, bool(settings.redis_url)
    found = totals if l1 or l2 else None
    return {
        "ttl_s": settings.cache_ttl_s if l1 or l2 else None,
        "bypassed": None if found is None else found["l1.bypassed"] + found["l2.bypassed"],
        "single_flight": {
            role: None if found is None else found[f"single_flight.{role}"] for role in SINGLE_FLIGHT_ROLES
        },
        "l1": {**_level("l1", totals, l1), "max_bytes": settings.cache_l1_mb * _MB if l1 else None},
        "l2": _level("l2", totals, l2),
    }


def _level(level: str, totals: Totals | None, is_configured: bool) -> dict[str, Any]:
    """Redis alone knows how much it keeps and what it has thrown away, and shares it with others."""
    found = totals if is_configured else None
    hits, misses = (0, 0) if found is None else (found[f"{level}.hits"], found[f"{level}.misses"])
    counted = ("hits", "misses", "entries", "bytes", "stored", "dropped", "evicted", "torn", "bypassed")
    return {
        "state": _level_state(level, found, is_configured),
        **{name: None if found is None else found.get(f"{level}.{name}") for name in counted},
        "hit_rate": None if found is None else hits / (hits + misses) if hits + misses else 0.0,
        "age_s": found[f"{level}.hit_age_ms"] / MS_PER_S / hits if found is not None and hits else None,
    }


def _level_state(level: str, found: Totals | None, is_configured: bool) -> str:
    if level == "l2" or not is_configured:
        return _state("redis", found, is_configured)
    if found is None or ("l1.entries" not in found and not found["l1.without_memory"]):
        return UNKNOWN
    return "no memory" if found["l1.without_memory"] else "ok"


def journal(totals: Totals | None, settings: Settings) -> dict[str, Any]:
    """How many answers have come how far, and how far behind the last stage is."""
    backend = journal_backend(settings)
    found = totals if backend != "off" else None
    is_moved = found is not None and bool(found["journal.moving"])
    counts = {stage: None if found is None else found[f"journal.{stage}"] for stage in JOURNAL_STAGES}
    return {
        "backend": backend,
        **{stage: counts[stage] for stage in ("recorded", "stored")},
        "sent": counts["sent"] if backend == "postgres" else None,
        "backlog": found["journal.backlog"] if found is not None and is_moved else None,
        "oldest_s": oldest_s(found) if found is not None and is_moved else None,
        **{stage: counts[stage] for stage in ("rejected", "lost")},
    }


def journal_backend(settings: Settings) -> str:
    """Where a record is to be at last: `postgres`, `sqlite`, or `off`."""
    if settings.journal != "on":
        return "off"
    return "postgres" if settings.database_url else "sqlite"


def oldest_s(totals: Totals) -> float:
    """How long ago the oldest record was answered that is not yet where it is to be at last; 0.0 if there is none."""
    oldest_at_ms = totals["journal.oldest_at_ms"]
    return max(0.0, wall_clock_s() - oldest_at_ms / MS_PER_S) if oldest_at_ms else 0.0
