"""Why the engine is not well although it serves: what is configured to be kept, and is not.

The same from every process: it follows from what is counted and from the settings, and from nothing before.
"""

from __future__ import annotations

from typing import Any

from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.observe.metrics import Refusing
from engine.observe.store_stats import (
    Totals,
    cache,
    configured_pools,
    connection_pools,
    journal,
    journal_backend,
    oldest_s,
)

# A batch goes to SQLite four times a second, to Postgres as often; a backlog as old as this does not get smaller.
BEHIND_S = 15.0

_AWAY = {
    "database": "Postgres does not answer: the journal is kept here until it does",
    "redis": "Redis does not answer: answers are cached on this machine alone",
    "http": "the original API does not answer: there is no fallback",
}
_REFUSING = {
    Refusing.FAILING: "Postgres does not take the journal: see the log of the supervisor",
    Refusing.DENIED: "Postgres denies a right that the journal needs: see nightscan journal migrate --print",
    Refusing.LOGIN: "Postgres does not let the engine in: user, password or database is wrong",
    Refusing.TOO_NEW: "the journal in Postgres is of a newer version: it is left alone until this engine is as new",
}


def store_reasons(totals: Totals | None, settings: Settings) -> list[str]:
    """A line for each trouble of a store; none of them keeps a request from being answered."""
    if totals is None:
        return []
    configured = configured_pools(settings)
    reasons = [
        text
        for pool, text in _AWAY.items()
        if configured[pool] and totals[f"{pool}.breaker"] != BreakerState.CLOSED
    ]
    if settings.redis_url and totals["redis.refusing"]:
        reasons.append("Redis refuses what it is asked: see the log of the frontends")
    if configured["database"] and totals["database.refusing"]:
        reasons.append(_REFUSING[Refusing(totals["database.refusing"])])
    if settings.cache_l1_mb and totals["l1.without_memory"]:
        reasons.append("there is no memory for the L1 cache")
    return [*reasons, *_journal_reasons(totals, settings)]


def stores_seen(totals: Totals | None, settings: Settings) -> dict[str, Any]:
    """Pools, cache and journal as the statistics have them, and why they are not well."""
    return {
        "connection_pools": connection_pools(totals, settings),
        "cache": cache(totals, settings),
        "journal": journal(totals, settings),
        "reasons": store_reasons(totals, settings),
    }


def connected(totals: Totals | None, pool: str) -> bool:
    """Whether some process has a connection of `pool` to a server that answers."""
    if totals is None or totals[f"{pool}.breaker"] == BreakerState.OPEN:
        return False
    return totals[f"{pool}.in_use"] + totals[f"{pool}.idle"] > 0


def _journal_reasons(totals: Totals, settings: Settings) -> list[str]:
    backend = journal_backend(settings)
    if backend == "off":
        return []
    reasons = ["the journal cannot be written"] if totals["journal.failing"] else []
    if totals["journal.damaged"]:
        reasons.append("a damaged journal.db was set aside: remove it once it has been looked at")
    behind_s = oldest_s(totals)
    if totals["journal.moving"] and totals["journal.backlog"] and behind_s > BEHIND_S:
        reasons.append(
            f"the journal is behind: {totals['journal.backlog']} records are not yet in {_NAMES[backend]}, "
            f"the oldest for {behind_s:.0f} s"
        )
    return reasons


_NAMES = {"sqlite": "SQLite", "postgres": "Postgres"}
