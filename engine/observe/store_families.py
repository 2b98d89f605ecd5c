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
from engine.observe.families import counter, gauge
from engine.observe.metrics import FALLBACK_OUTCOMES, JOURNAL_STAGES, POOLS, SINGLE_FLIGHT_ROLES, TRACE_OUTCOMES
from engine.observe.store_stats import Totals, configured_pools, journal_backend, oldest_s


def store_families(totals: Totals | None, settings: Settings) -> Iterator[Metric]:
    """Every family, without samples while nobody has counted."""
    found = totals or {}
    pools = [pool for pool, there in configured_pools(settings).items() if there and found]
    yield from _pools(found, [pool for pool in POOLS if pool in pools])
    yield from _cache(found, settings)
    yield from _journal(found, settings)
    fallbacks = counter("nightscan_engine_fallbacks_total")
    for outcome in FALLBACK_OUTCOMES:
        _add(fallbacks, found, f"fallback.{outcome}", outcome)
    yield fallbacks
    traces = counter("nightscan_engine_traces_total")
    for outcome in TRACE_OUTCOMES if settings.otel_endpoint else ():
        _add(traces, found, f"traces.{outcome}", outcome)
    yield traces


def _pools(found: Totals, pools: list[str]) -> Iterator[Metric]:
    connections = gauge("nightscan_engine_pool_connections")
    opened, lost = counter("nightscan_engine_pool_opened_total"), counter("nightscan_engine_pool_lost_total")
    waited, breaker = counter("nightscan_engine_pool_wait_seconds_total"), gauge("nightscan_engine_breaker_open")
    refused = gauge("nightscan_engine_pool_refused")
    for pool in pools:
        for state in ("in_use", "idle"):
            connections.add_metric([pool, state], found[f"{pool}.{state}"])
        opened.add_metric([pool], found[f"{pool}.opened"])
        lost.add_metric([pool], found[f"{pool}.lost"])
        waited.add_metric([pool], found[f"{pool}.wait_ns"] / NS_PER_S)
        breaker.add_metric([pool], float(found[f"{pool}.breaker"] != BreakerState.CLOSED))
        _add_refused(refused, found, pool)
    yield from (connections, opened, lost, waited, breaker, refused)


def _cache(found: Totals, settings: Settings) -> Iterator[Metric]:
    lookups = counter("nightscan_engine_cache_lookups_total")
    for level, there in (("l1", settings.cache_l1_mb > 0), ("l2", bool(settings.redis_url))):
        for counted, result in (("hits", "hit"), ("misses", "miss"), ("bypassed", "bypassed")) if there else ():
            _add(lookups, found, f"{level}.{counted}", level, result)
    size = gauge("nightscan_engine_cache_bytes")
    _add(size, found, "l1.bytes")
    flights = counter("nightscan_engine_single_flight_total")
    for role in SINGLE_FLIGHT_ROLES:
        _add(flights, found, f"single_flight.{role}", role)
    yield from (lookups, size, flights)


def _journal(found: Totals, settings: Settings) -> Iterator[Metric]:
    records = counter("nightscan_engine_journal_records_total")
    backlog, oldest = gauge("nightscan_engine_journal_backlog"), gauge("nightscan_engine_journal_oldest_seconds")
    backend = journal_backend(settings)
    if backend != "off":
        for stage in JOURNAL_STAGES:
            if stage != "sent" or backend == "postgres":
                _add(records, found, f"journal.{stage}", stage)
        if found.get("journal.moving"):
            _add(backlog, found, "journal.backlog")
            oldest.add_metric([], oldest_s(found))
    yield from (records, backlog, oldest)


def _add_refused(family: GaugeMetricFamily, found: Totals, pool: str) -> None:
    refusing = found.get(f"{pool}.refusing")
    if refusing is not None:  # the HTTP pool has no such figure
        family.add_metric([pool], float(refusing != 0))


def _add(family: CounterMetricFamily | GaugeMetricFamily, found: Totals, name: str, *labels: str) -> None:
    if name in found:
        family.add_metric(list(labels), found[name])
