"""Prometheus text from the counters in shared memory: every frontend and the supervisor give the same figures.

Of the machine, that is: whoever scrapes several of its processes must not add them up. Counters are those of all
versions of a deployment and outlive them. A histogram's `_sum` is the sum over what its buckets count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from engine.config import Settings
from engine.observe.counters import Counters, Observed
from engine.observe.families import add_histogram, counter, gauge, histogram
from engine.observe.histograms import LATENCY
from engine.observe.machine_families import http_families, seat_families, supervisor_family
from engine.observe.seats import SeatFigures
from engine.observe.store_families import store_families
from engine.observe.store_stats import Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LANE_COUNTERS = (
    ("nightscan_engine_cache_hits_total", "cache_hits"),
    ("nightscan_engine_cache_misses_total", "cache_misses"),
    ("nightscan_engine_refused_total", "refused"),
    ("nightscan_engine_expired_total", "expired"),
    ("nightscan_engine_cancelled_total", "cancelled"),
)
_SLOT_STATES = ("free", "writing", "ready", "leased", "replied")


def exposition(
    client: Observed | None, settings: Settings, totals: Totals | None, seats: Sequence[SeatFigures] = ()
) -> bytes:
    """All exported metrics; without a client, totals or seats, only the names of what would be theirs.

    `totals` and `seats`: of the machine segment.
    """
    registry = CollectorRegistry()
    registry.register(_EngineCollector(client, settings, totals, seats))
    return generate_latest(registry)


class _EngineCollector(Collector):
    def __init__(
        self, client: Observed | None, settings: Settings, totals: Totals | None, seats: Sequence[SeatFigures]
    ) -> None:
        known = [] if client is None else client.known_deployments()
        self._deployed = [] if client is None else client.deployments()
        self._counters = {} if client is None else {name: client.counters(name) for name in known}
        self._settings = settings
        self._totals = totals
        self._seats = seats

    def collect(self) -> Iterator[Metric]:
        yield from http_families(self._totals)
        yield from _deployments(self._counters)
        yield from seat_families(self._seats, self._deployed)
        yield supervisor_family(self._totals)
        yield from store_families(self._totals, self._settings)


def _deployments(counters: dict[str, Counters]) -> Iterator[Metric]:
    predictions = counter("nightscan_predictions_total")
    durations = histogram("nightscan_prediction_duration_seconds")
    queue, slots = gauge("nightscan_ml_queue_length"), gauge("nightscan_engine_slots")
    for deployment, each in counters.items():
        for status, counted in (("success", "succeeded"), ("error", "failed")):
            predictions.add_metric([deployment, status], each.lane_totals.get(counted, 0))
        add_histogram(durations, [deployment], LATENCY, each.lane_totals)
        queue.add_metric([deployment], each.waiting)
        for state in _SLOT_STATES:
            slots.add_metric([deployment, state], each.slots.get(state, 0))
    yield from (predictions, durations, queue, slots)
    for name, counted in _LANE_COUNTERS:
        family = counter(name)
        for deployment, each in counters.items():
            family.add_metric([deployment], each.lane_totals.get(counted, 0))
        yield family
