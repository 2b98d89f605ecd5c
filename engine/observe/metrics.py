"""Every counter, declared once. What is exported of them is in `exported.py`.

Counters live in shared memory, in rows with one writer each. In the segment of a version: one per lane (the frontend
that owns it) and one per instance (that instance). In the machine segment, which outlives versions: one per process,
for what belongs to no deployment, and one per seat of a pool, for the instance that sits there. The rows are laid out
in exactly the order of the tuples below, so that adding a name here changes the layout, and its version with it.
"""

from __future__ import annotations

import enum

from engine.observe.histograms import (
    AUDIO_LENGTH,
    BATCH_SIZE,
    COMPUTING,
    LATENCY,
    QUEUEING,
    UPLOAD_SIZE,
    http_duration,
)

# What answers over HTTP are counted by, beside their status: method and endpoint.
HTTP_ROUTES = (("POST", "optimized"), ("POST", "legacy"), ("GET", "other"), ("other", "other"))
HTTP_STATUSES = (200, 400, 403, 404, 405, 413, 415, 422, 429, 500, 502, 503, 504)


def http_route(method: str, endpoint: str) -> tuple[str, str]:
    """Of HTTP_ROUTES the one under which an answer is counted."""
    route = (method, endpoint)
    return route if route in HTTP_ROUTES else ("other", "other")


def http_counter(method: str, endpoint: str, status: int) -> str:
    """Name of the process counter of HTTP answers; what is not declared counts under "other"."""
    shown = ".".join(http_route(method, endpoint))
    return f"http.{shown}.{status if status in HTTP_STATUSES else 'other'}"


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
    *LATENCY.buckets,
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
    # Answers over HTTP, counted before their first byte leaves: whoever has an answer finds it counted.
    *(f"http.{method}.{endpoint}.{status}" for method, endpoint in HTTP_ROUTES for status in (*HTTP_STATUSES, "other")),
    *(counter for route in HTTP_ROUTES for counter in http_duration(*route).counters),
    # Of recordings that were answered: the uploaded file, and how long it is.
    *UPLOAD_SIZE.counters,
    *AUDIO_LENGTH.counters,
)

# Of a seat in the pool of a deployment, over all instances that ever sat there, in whichever version.
SEAT_COUNTERS: tuple[str, ...] = (
    "starts",  # instances that began to work
    "restarts",  # of these, those that took the place of one that had died
    "batches",
    "requests",  # items that were computed
    "failed",
    "busy_ns",
    *COMPUTING.buckets,  # of a batch: from its launch to its replies
    *QUEUEING.counters,  # of an item: from its arrival until it was taken
    *BATCH_SIZE.buckets,
)

# Of the instance that sits there now.
SEAT_GAUGES: tuple[str, ...] = (
    "working",  # 1: it takes what comes
    "memory_used_bytes",  # of its device, by whomever; 0: the device has no memory of its own
    "memory_total_bytes",
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
