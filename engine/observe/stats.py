"""The published statistics, read from the counters in shared memory: the same whichever process answers.

The keys are those of the system before this one; what is new stands beside them.
"""

from __future__ import annotations

from typing import Any

import psutil

from engine.clock import NS_PER_S
from engine.config import Settings
from engine.observe.counters import Counters, Observed, latency_quantile_s
from engine.observe.store_stats import Totals, cache, connection_pools, journal

_MB = 1024 * 1024


def optimization_stats(client: Observed | None, settings: Settings, totals: Totals | None) -> dict[str, Any]:
    """All sections; those of deployments are empty without a client. `totals`: of all processes, None while unknown."""
    found = {} if client is None else {name: client.counters(name) for name in client.deployments()}
    kept = cache(totals, settings)
    return {
        "connection_pools": connection_pools(totals, settings),
        "cache": kept,
        "journal": journal(totals, settings),
        "model_pools": {name: _model_pool(client, name, counters) for name, counters in found.items()},
        "batch_processing": {name: _batches(counters) for name, counters in found.items()},
        "performance_metrics": {name: _performance(counters, kept["ttl_s"]) for name, counters in found.items()},
        "system_resources": _resources(),
        "tuning": {name: counters.tuning for name, counters in found.items() if counters.tuning},
    }


def _model_pool(client: Observed | None, deployment_id: str, counters: Counters) -> dict[str, Any]:
    used = [row["requests"] for row in counters.instances]
    total = counters.instance_totals.get("requests", 0)
    return {
        "deployment_id": deployment_id,
        "pool_size": len(used),
        "total_usage": total,
        "usage_per_instance": used,
        "warmup_complete": client is not None and client.ready(deployment_id),
        "average_usage": sum(used) / len(used) if used else 0.0,
        "busy_s_per_instance": [row["busy_ns"] / NS_PER_S for row in counters.instances],
        "device": counters.device,
        "model_version": counters.model_version,
    }


def _batches(counters: Counters) -> dict[str, Any]:
    totals = counters.instance_totals
    batches = totals.get("batches", 0)
    if not batches:
        return {}
    return {
        "total_batches": batches,
        "total_requests": totals["requests"],
        "average_batch_size": totals["requests"] / batches,
        "average_processing_time": totals["busy_ns"] / NS_PER_S / batches,
    }


def _performance(counters: Counters, cache_ttl_s: int | None) -> dict[str, Any]:
    totals = counters.lane_totals
    requests, succeeded = totals.get("requests", 0), totals.get("succeeded", 0)
    hits, misses = totals.get("cache_hits", 0), totals.get("cache_misses", 0)
    return {
        "total_requests": requests,
        "successful_requests": succeeded,
        "failed_requests": totals.get("failed", 0),
        "average_latency": totals.get("latency_ns", 0) / NS_PER_S / succeeded if succeeded else 0.0,
        "cache_hits": hits,
        "cache_misses": misses,
        "cache_hit_rate": hits / (hits + misses) if hits + misses else 0.0,
        "cache_ttl_s": cache_ttl_s,  # None: nothing expires where nothing is kept
        "error_rate": totals.get("failed", 0) / requests if requests else 0.0,
        "refused_requests": totals.get("refused", 0),
        "expired_requests": totals.get("expired", 0),
        "cancelled_requests": totals.get("cancelled", 0),
        **{
            f"p{percent}_latency": latency_quantile_s(totals, percent / 100) if totals else 0.0
            for percent in (50, 95, 99)
        },
    }


def _resources() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "memory_usage_mb": (memory.total - memory.available) / _MB,
        "cpu_percent": psutil.cpu_percent(interval=None),
        "available_memory_mb": memory.available / _MB,
        "gpu": [],
    }
