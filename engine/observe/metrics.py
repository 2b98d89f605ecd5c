"""Every counter and every exported metric, declared once: name, unit, labels.

Counters live in shared memory, one row per lane (its only writer: the frontend that owns the lane) and one per instance
(its only writer: that instance). `engine/shm/board.py` lays the rows out in exactly the order of the tuples below, so
that adding a name here changes the layout of the segment, and its version with it.
"""

from __future__ import annotations

from dataclasses import dataclass

HTTP_ENDPOINTS = ("optimized", "legacy", "other")
HTTP_STATUSES = (200, 400, 404, 413, 415, 422, 429, 500, 503, 504)

# Upper bounds of the buckets of the latency histogram. Near-geometric, so that a quantile is off by a fifth or so; the
# bounds that dashboards of the original system read (.1 .5 1 2 5 10 30 60) are among them. One more bucket is above.
LATENCY_BOUNDS_S = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1,
    0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0,
)  # fmt: skip


def http_counter(endpoint: str, status: int) -> str:
    """Name of the lane counter of HTTP answers; an endpoint or status that is not declared counts under "other"."""
    shown_endpoint = endpoint if endpoint in HTTP_ENDPOINTS else "other"
    return f"http.{shown_endpoint}.{status if status in HTTP_STATUSES else 'other'}"


def latency_counter(bucket: int) -> str:
    """Name of the lane counter of requests whose latency fell into bucket `bucket` alone (not cumulative)."""
    return f"latency.{bucket}"


LANE_COUNTERS: tuple[str, ...] = (
    "requests",  # admitted
    "succeeded",
    "failed",
    "latency_ns",  # sum over succeeded
    "cache_hits",
    "cache_misses",
    "refused",  # queue full or closing
    "expired",
    "cancelled",
    *(f"http.{endpoint}.{status}" for endpoint in HTTP_ENDPOINTS for status in (*HTTP_STATUSES, "other")),
    *(latency_counter(bucket) for bucket in range(len(LATENCY_BOUNDS_S) + 1)),
)

INSTANCE_COUNTERS: tuple[str, ...] = (
    "batches",
    "requests",
    "busy_ns",  # between the start of a batch on the device and its replies
    "progress",  # steps of the working loop, sleeps too; in status: still for seconds, it hangs. Nobody acts on it yet
    "failed",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One exported time series family, in Prometheus terms."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    unit: str  # "" for plain counts
    labels: tuple[str, ...]
    text: str


EXPORTED: tuple[Metric, ...] = (
    Metric("nightscan_http_requests_total", "counter", "", ("method", "endpoint", "status"), "HTTP answers"),
    Metric("nightscan_http_request_duration_seconds", "histogram", "s", ("method", "endpoint"), "HTTP latency"),
    Metric("nightscan_predictions_total", "counter", "", ("status",), "predictions by success or error"),
    Metric("nightscan_prediction_duration_seconds", "histogram", "s", (), "latency of predictions"),
    Metric("nightscan_ml_queue_length", "gauge", "", (), "requests that wait for an instance"),
    Metric("nightscan_engine_cache_hits_total", "counter", "", (), "predictions answered from the cache"),
    Metric("nightscan_engine_cache_misses_total", "counter", "", (), "predictions not found in the cache"),
    Metric("nightscan_engine_refused_total", "counter", "", (), "requests refused: queue full or closing"),
    Metric("nightscan_engine_expired_total", "counter", "", (), "requests whose deadline passed"),
    Metric("nightscan_engine_cancelled_total", "counter", "", (), "requests whose caller went away"),
    Metric("nightscan_engine_slots", "gauge", "", ("state",), "slots of all lanes by state"),
    Metric("nightscan_engine_batches_total", "counter", "", ("instance",), "batches computed"),
    Metric("nightscan_engine_batched_requests_total", "counter", "", ("instance",), "items computed"),
    Metric("nightscan_engine_busy_seconds_total", "counter", "s", ("instance",), "time spent on batches"),
)
