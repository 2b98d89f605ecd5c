"""Every counter and every exported metric, declared once: name, unit, labels.

Counters live in shared memory, one row per lane (its only writer: the frontend that owns the lane) and one per instance
(its only writer: that instance). `engine/shm/board.py` lays the rows out in exactly the order of the tuples below, so
that adding a name here changes the layout of the segment, and its version with it. What belongs to no deployment is
counted in one row per process of the machine segment, whatever the process is.
"""

from __future__ import annotations

import enum
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

POOLS = ("database", "redis", "http")
LENT_POOLS = ("redis", "http")  # every process has one: the supervisor lends out what they may have open together
CACHE_LEVELS = ("l1", "l2")
SINGLE_FLIGHT_ROLES = ("leader", "follower", "takeover")
FALLBACK_OUTCOMES = (
    "answered",
    "failed",  # no complete answer in time
    "refused",  # not asked: the breaker is open, no connection is free, or the call came from a fallback itself
)
TRACE_OUTCOMES = (
    "sent",  # the collector has taken it
    "refused",  # the collector has not
    "left_out",  # more than may be traced
    "lost",  # the ring was written over before it was read
)
JOURNAL_STAGES = (
    "recorded",  # appended to a spool
    "stored",  # in SQLite
    "sent",  # in Postgres, or there already
    "rejected",  # set aside: damaged, or refused by Postgres
    "lost",  # could not be appended, or had to go before it was sent
)

# Of a process as a whole. They never fall: who claims the row of a dead process goes on with its counters.
PROCESS_COUNTERS: tuple[str, ...] = (
    *(
        f"{pool}.{what}"
        for pool in POOLS
        for what in (
            "opened",  # connections
            "lost",  # connections that broke, or that the server closed
            "errors",  # attempts to connect, and uses, that failed
            "wait_ns",  # that callers have waited for a connection, together
        )
    ),
    *(
        f"{level}.{what}"
        for level in CACHE_LEVELS
        for what in (
            "hits",
            "misses",
            "stored",
            "dropped",  # not stored: too large, no room, or the queue to Redis was full
            "torn",  # found, but not what its checksum or form says: a miss, too
            "bypassed",  # look-ups and stores left out because they cost more than they save
            "hit_age_ms",  # sum over hits of the time since the answer was computed
        )
    ),
    "l1.evicted",
    *(f"single_flight.{role}" for role in SINGLE_FLIGHT_ROLES),
    *(f"journal.{stage}" for stage in JOURNAL_STAGES),
    *(f"fallback.{outcome}" for outcome in FALLBACK_OUTCOMES),
    *(f"traces.{outcome}" for outcome in TRACE_OUTCOMES),  # of the supervisor, for all
    # Answers over HTTP while this process has no lane to count them in. The rest of them is in LANE_COUNTERS.
    *(f"http.{endpoint}.{status}" for endpoint in HTTP_ENDPOINTS for status in (*HTTP_STATUSES, "other")),
)


class Refusing(enum.IntEnum):
    """Why a database that answers does not take the journal."""

    NO = 0
    FAILING = 1  # for a reason of its own: a full disk, a lock, a standby
    DENIED = 2  # a right is missing
    TOO_NEW = 3  # its tables are those of a newer version
    LOGIN = 4  # it does not let us in


# Of a process as it is now: they count for as long as it lives.
PROCESS_GAUGES: tuple[str, ...] = (
    *(
        f"{pool}.{what}"
        for pool in POOLS
        for what in (
            "initialized",  # 1: the pool is open, whether or not the server is there
            "in_use",  # connections
            "idle",  # connections
            "waiting",  # callers
            "breaker",  # `BreakerState`: 0 while the server is asked
        )
    ),
    "redis.refusing",  # 1: it answers, but refused what it was asked just now: a right is missing, or memory
    "database.refusing",  # `Refusing`: it is there, and does not take the journal
    *(f"{level}.bypassing" for level in CACHE_LEVELS),  # 1: this process leaves out most of its look-ups just now
    "l1.without_memory",  # 1: it was wanted, and there is none
    "journal.failing",  # 1: this process cannot write its part of it
    "journal.damaged",  # 1: a damaged archive was set aside, and lies there still
    "journal.moving",  # 1: the supervisor that moves records, whose backlog is the machine's
    "journal.backlog",  # records not yet where they are to be at last; of the supervisor that moves them
    "journal.oldest_at_ms",  # wall clock: when the oldest of these was answered; 0: there is none
)

# Of these the machine's figure is the greatest of its processes', of all others the sum.
GREATEST_GAUGES = frozenset(
    (
        *(f"{pool}.{what}" for pool in POOLS for what in ("initialized", "breaker")),
        *("database.refusing", "l1.without_memory"),
        *("journal.failing", "journal.damaged", "journal.moving", "journal.oldest_at_ms"),
    )
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
    Metric("nightscan_engine_pool_connections", "gauge", "", ("pool", "state"), "connections of all processes"),
    Metric("nightscan_engine_pool_opened_total", "counter", "", ("pool",), "connections that were opened"),
    Metric("nightscan_engine_pool_lost_total", "counter", "", ("pool",), "connections that broke or were closed"),
    Metric("nightscan_engine_pool_wait_seconds_total", "counter", "s", ("pool",), "waiting for a connection"),
    Metric("nightscan_engine_breaker_open", "gauge", "", ("pool",), "1 while a process has given the server up"),
    Metric("nightscan_engine_cache_lookups_total", "counter", "", ("level", "result"), "look-ups in the cache"),
    Metric("nightscan_engine_cache_bytes", "gauge", "bytes", (), "what the L1 cache holds"),
    Metric("nightscan_engine_single_flight_total", "counter", "", ("role",), "requests for the same by their role"),
    Metric("nightscan_engine_journal_records_total", "counter", "", ("stage",), "records that came so far"),
    Metric("nightscan_engine_journal_backlog", "gauge", "", (), "records that are not yet where they are to be"),
    Metric("nightscan_engine_journal_oldest_seconds", "gauge", "s", (), "age of the oldest of these"),
    Metric("nightscan_engine_fallbacks_total", "counter", "", ("outcome",), "requests given to the original API"),
    Metric("nightscan_engine_traces_total", "counter", "", ("outcome",), "requests of which a trace was wanted"),
)
