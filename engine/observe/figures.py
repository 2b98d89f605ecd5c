"""What was counted, as the page and programs read it: plain numbers that only grow, from which rates are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.observe.counters import Counters
from engine.observe.metrics import HTTP_ENDPOINTS, HTTP_STATUSES, LATENCY_BOUNDS_S, latency_counter

_COUNTED = ("requests", "succeeded", "failed", "refused", "expired", "cancelled", "cache_hits", "cache_misses")


def deployment_figures(counters: Counters, places: Mapping[int, tuple[int, str]]) -> dict[str, Any]:
    """Of one deployment. `places`: seat and device of its instances by pid."""
    lanes, instances = counters.lane_totals, counters.instance_totals
    return {
        **{name: lanes.get(name, 0) for name in _COUNTED},
        "waiting": counters.waiting,
        "batches": instances.get("batches", 0),
        "batched_requests": instances.get("requests", 0),
        "latency_buckets": {
            "bounds_s": list(LATENCY_BOUNDS_S),
            "counts": [lanes.get(latency_counter(k), 0) for k in range(len(LATENCY_BOUNDS_S) + 1)],
        },
        "batch_sizes": {},
        "instances": [
            {
                "seat": places.get(row["pid"], (None, None))[0],
                "device": places.get(row["pid"], (None, None))[1],
                **{name: row[name] for name in ("batches", "requests", "busy_ns")},
            }
            for row in counters.instances
        ],
    }


def http_figures(lanes: Iterable[Mapping[str, int]], totals: Mapping[str, int] | None) -> dict[str, int]:
    """Answers over HTTP by endpoint and status; those that there have been."""
    names = [f"{endpoint}.{status}" for endpoint in HTTP_ENDPOINTS for status in (*HTTP_STATUSES, "other")]
    everywhere = [*lanes, totals or {}]
    sums = {name: sum(each.get(f"http.{name}", 0) for each in everywhere) for name in names}
    return {name: count for name, count in sums.items() if count}
