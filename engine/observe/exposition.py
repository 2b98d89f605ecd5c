"""Prometheus text from the counters in shared memory: every frontend and the supervisor give the same figures.

Only what is counted is exported. Counters are those of all versions of a deployment and outlive them; what instances
that are gone have counted stands under the instance "former". A histogram's `_sum` is the sum over answered requests,
like its buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.clock import NS_PER_S
from engine.config import Settings
from engine.observe.counters import Counters, Observed
from engine.observe.metrics import (
    EXPORTED,
    HTTP_ENDPOINTS,
    HTTP_STATUSES,
    LATENCY_BOUNDS_S,
    http_counter,
    latency_counter,
)
from engine.observe.store_families import store_families
from engine.observe.store_stats import Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TEXT = {metric.name: metric.text for metric in EXPORTED}
_METHOD = {"optimized": "POST", "legacy": "POST", "other": "GET"}
_PLAIN_COUNTERS = (
    ("nightscan_engine_cache_hits_total", "cache_hits"),
    ("nightscan_engine_cache_misses_total", "cache_misses"),
    ("nightscan_engine_refused_total", "refused"),
    ("nightscan_engine_expired_total", "expired"),
    ("nightscan_engine_cancelled_total", "cancelled"),
)


def exposition(client: Observed | None, settings: Settings, totals: Totals | None) -> bytes:
    """All exported metrics, summed over deployments; without a client, or totals, only the names of theirs."""
    registry = CollectorRegistry()
    registry.register(_EngineCollector(client, settings, totals))
    return generate_latest(registry)


class _EngineCollector(Collector):
    def __init__(self, client: Observed | None, settings: Settings, totals: Totals | None) -> None:
        self._counters = [] if client is None else [client.counters(name) for name in client.known_deployments()]
        self._settings = settings
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        counters = self._counters
        totals = _sum(each.lane_totals for each in counters)
        yield _http_requests(_sum((totals, dict(self._totals or {}))))
        yield _predictions(totals)
        yield _durations(totals)
        for name, counter in _PLAIN_COUNTERS:
            family = CounterMetricFamily(name, _TEXT[name])
            family.add_metric([], totals.get(counter, 0))
            yield family
        yield from _instances(counters)
        yield from _slots(counters)
        yield from store_families(self._totals, self._settings)


def _sum(each: Iterable[dict[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for counters in each:
        for name, value in counters.items():
            totals[name] = totals.get(name, 0) + value
    return totals


def _http_requests(totals: dict[str, int]) -> Metric:
    name = "nightscan_http_requests_total"
    family = CounterMetricFamily(name, _TEXT[name], labels=("method", "endpoint", "status"))
    for endpoint in HTTP_ENDPOINTS:
        for status in (*HTTP_STATUSES, "other"):
            counter = http_counter(endpoint, status) if isinstance(status, int) else f"http.{endpoint}.other"
            family.add_metric([_METHOD[endpoint], endpoint, str(status)], totals.get(counter, 0))
    return family


def _predictions(totals: dict[str, int]) -> Metric:
    name = "nightscan_predictions_total"
    family = CounterMetricFamily(name, _TEXT[name], labels=("status",))
    family.add_metric(["success"], totals.get("succeeded", 0))
    family.add_metric(["error"], totals.get("failed", 0))
    return family


def _durations(totals: dict[str, int]) -> Metric:
    name = "nightscan_prediction_duration_seconds"
    family = HistogramMetricFamily(name, _TEXT[name])
    buckets, below = [], 0
    for bucket, bound in enumerate([*map(str, LATENCY_BOUNDS_S), "+Inf"]):
        below += totals.get(latency_counter(bucket), 0)
        buckets.append((bound, float(below)))
    family.add_metric([], buckets, totals.get("latency_ns", 0) / NS_PER_S)
    return family


def _instances(counters: list[Counters]) -> Iterator[Metric]:
    for name, counter, scale in (
        ("nightscan_engine_batches_total", "batches", 1),
        ("nightscan_engine_batched_requests_total", "requests", 1),
        ("nightscan_engine_busy_seconds_total", "busy_ns", NS_PER_S),
    ):
        family = CounterMetricFamily(name, _TEXT[name], labels=("instance",))
        rows = [row for each in counters for row in each.instances]
        for row in rows:
            family.add_metric([str(row["pid"])], row[counter] / scale)
        former = sum(each.instance_totals.get(counter, 0) for each in counters) - sum(row[counter] for row in rows)
        family.add_metric(["former"], former / scale)
        yield family


def _slots(counters: list[Counters]) -> Iterator[Metric]:
    queue, slots = "nightscan_ml_queue_length", "nightscan_engine_slots"
    yield GaugeMetricFamily(queue, _TEXT[queue], value=sum(each.waiting for each in counters))
    family = GaugeMetricFamily(slots, _TEXT[slots], labels=("state",))
    for state in ("free", "writing", "ready", "leased", "replied"):
        family.add_metric([state], sum(each.slots.get(state, 0) for each in counters))
    yield family
