"""Pools, cache, journal, fallback and traces as Prometheus families: figures of all processes of the machine.

A pool without a server and a cache level that is not configured have no series: a zero would read as one that nobody
has used yet.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.clock import NS_PER_S
from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.observe.metrics import (
    EXPORTED,
    FALLBACK_OUTCOMES,
    JOURNAL_STAGES,
    POOLS,
    SINGLE_FLIGHT_ROLES,
    TRACE_OUTCOMES,
)
from engine.observe.store_stats import Totals, configured_pools, journal_backend, oldest_s

_TEXT = {metric.name: metric.text for metric in EXPORTED}
_PREFIX = "nightscan_engine_"


def store_families(totals: Totals | None, settings: Settings) -> Iterator[Metric]:
    """Every family, without samples while nobody has counted."""
    found = totals or {}
    pools = [pool for pool, there in configured_pools(settings).items() if there and found]
    yield from _pools(found, [pool for pool in POOLS if pool in pools])
    yield from _cache(found, settings)
    yield from _journal(found, settings)
    fallbacks = _counter("fallbacks_total", "outcome")
    for outcome in FALLBACK_OUTCOMES:
        _add(fallbacks, found, f"fallback.{outcome}", outcome)
    yield fallbacks
    traces = _counter("traces_total", "outcome")
    for outcome in TRACE_OUTCOMES if settings.otel_endpoint else ():
        _add(traces, found, f"traces.{outcome}", outcome)
    yield traces


def _pools(found: Totals, pools: list[str]) -> Iterator[Metric]:
    connections = _gauge("pool_connections", "pool", "state")
    opened, lost = _counter("pool_opened_total", "pool"), _counter("pool_lost_total", "pool")
    waited, breaker = _counter("pool_wait_seconds_total", "pool"), _gauge("breaker_open", "pool")
    for pool in pools:
        for state in ("in_use", "idle"):
            connections.add_metric([pool, state], found[f"{pool}.{state}"])
        opened.add_metric([pool], found[f"{pool}.opened"])
        lost.add_metric([pool], found[f"{pool}.lost"])
        waited.add_metric([pool], found[f"{pool}.wait_ns"] / NS_PER_S)
        breaker.add_metric([pool], float(found[f"{pool}.breaker"] != BreakerState.CLOSED))
    yield from (connections, opened, lost, waited, breaker)


def _cache(found: Totals, settings: Settings) -> Iterator[Metric]:
    lookups = _counter("cache_lookups_total", "level", "result")
    for level, there in (("l1", settings.cache_l1_mb > 0), ("l2", bool(settings.redis_url))):
        for counter, result in (("hits", "hit"), ("misses", "miss"), ("bypassed", "bypassed")) if there else ():
            _add(lookups, found, f"{level}.{counter}", level, result)
    size = _gauge("cache_bytes")
    _add(size, found, "l1.bytes")
    flights = _counter("single_flight_total", "role")
    for role in SINGLE_FLIGHT_ROLES:
        _add(flights, found, f"single_flight.{role}", role)
    yield from (lookups, size, flights)


def _journal(found: Totals, settings: Settings) -> Iterator[Metric]:
    records = _counter("journal_records_total", "stage")
    backlog, oldest = _gauge("journal_backlog"), _gauge("journal_oldest_seconds")
    backend = journal_backend(settings)
    if backend != "off":
        for stage in JOURNAL_STAGES:
            if stage != "sent" or backend == "postgres":
                _add(records, found, f"journal.{stage}", stage)
        if found.get("journal.moving"):
            _add(backlog, found, "journal.backlog")
            oldest.add_metric([], oldest_s(found))
    yield from (records, backlog, oldest)


def _counter(name: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, _TEXT[_PREFIX + name], labels=labels)


def _gauge(name: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, _TEXT[_PREFIX + name], labels=labels)


def _add(family: CounterMetricFamily | GaugeMetricFamily, found: Totals, name: str, *labels: str) -> None:
    if name in found:
        family.add_metric(list(labels), found[name])
