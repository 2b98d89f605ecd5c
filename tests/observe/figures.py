"""Figures of processes that a test makes up."""

from __future__ import annotations

from engine.config import Settings
from engine.observe.metrics import POOLS, PROCESS_COUNTERS, PROCESS_GAUGES

REDIS, POSTGRES = "redis://:hunter2@cache/1", "postgresql://app:hunter2@db/app"
EVERYTHING = Settings(
    redis_url=REDIS, database_url=POSTGRES, original_api_url="http://original", otel_endpoint="http://collector:4318"
)
NOTHING = Settings(cache_l1_mb=0, journal="off")


def totals(**counted: int) -> dict[str, int]:
    """Every pool and the L1 are open, and nothing but `counted`; `__` in a name stands for the point."""
    found = dict.fromkeys((*PROCESS_COUNTERS, *PROCESS_GAUGES, "l1.entries", "l1.bytes"), 0)
    found |= {f"{pool}.initialized": 1 for pool in POOLS}
    for name, value in counted.items():
        assert name.replace("__", ".") in found, name
        found[name.replace("__", ".")] = value
    return found
