"""What was counted, as the page and programs read it: plain numbers that only grow, from which rates are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.observe.counters import Counters
from engine.observe.histograms import BATCH_SIZE, LATENCY
from engine.observe.metrics import HTTP_ROUTES, HTTP_STATUSES
from engine.observe.seats import SeatFigures

_COUNTED = ("requests", "succeeded", "failed", "refused", "expired", "cancelled", "cache_hits", "cache_misses")
# A bucket is called by the largest batch that may be in it; above the last bound, by as much again.
_BATCH_SIZES = [*map(str, BATCH_SIZE.bounds), str(2 * BATCH_SIZE.bounds[-1])]


def deployment_figures(counters: Counters, seats: Iterable[SeatFigures]) -> dict[str, Any]:
    """Of one deployment. `seats`: those of its pool, of former versions too."""
    lanes, places = counters.lane_totals, list(seats)
    sizes = [sum(seat.counters[name] for seat in places) for name in BATCH_SIZE.buckets]
    return {
        **{name: lanes.get(name, 0) for name in _COUNTED},
        "waiting": counters.waiting,
        "batches": sum(seat.counters["batches"] for seat in places),
        "batched_requests": sum(seat.counters["requests"] for seat in places),
        "latency_buckets": {
            "bounds_s": list(LATENCY.shown_bounds),
            "counts": [lanes.get(name, 0) for name in LATENCY.buckets],
        },
        "batch_sizes": {size: count for size, count in zip(_BATCH_SIZES, sizes, strict=True) if count},
        "instances": [
            {
                "seat": seat.seat,
                "device": seat.device,
                **{name: seat.counters[name] for name in ("batches", "requests", "busy_ns")},
            }
            for seat in places
        ],
    }


def http_figures(totals: Mapping[str, int] | None) -> dict[str, int]:
    """Answers over HTTP by endpoint and status; those that there have been."""
    sums: dict[str, int] = {}
    for method, endpoint in HTTP_ROUTES:
        for status in (*HTTP_STATUSES, "other"):
            count = (totals or {}).get(f"http.{method}.{endpoint}.{status}", 0)
            if count:
                sums[f"{endpoint}.{status}"] = sums.get(f"{endpoint}.{status}", 0) + count
    return sums
