"""Families of what the machine has counted: answers over HTTP, recordings, and every seat of every pool.

What is not known has no series: a machine without a GPU none of a GPU's memory, a process that has not met the engine
nothing but names. A zero would read as a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import Metric

from engine.clock import NS_PER_S
from engine.observe.families import add_histogram, counter, gauge, histogram
from engine.observe.histograms import AUDIO_LENGTH, BATCH_SIZE, COMPUTING, QUEUEING, UPLOAD_SIZE, http_duration
from engine.observe.metrics import HTTP_ROUTES, HTTP_STATUSES
from engine.observe.seats import SeatFigures
from engine.observe.store_stats import Totals

_SEAT_COUNTERS = (
    ("nightscan_engine_instance_starts_total", "starts", 1),
    ("nightscan_engine_instance_restarts_total", "restarts", 1),
    ("nightscan_engine_batches_total", "batches", 1),
    ("nightscan_engine_batched_requests_total", "requests", 1),
    ("nightscan_engine_busy_seconds_total", "busy_ns", NS_PER_S),
)
_SEAT_HISTOGRAMS = (
    ("ml_inference_duration_seconds", COMPUTING),
    ("nightscan_engine_queue_seconds", QUEUEING),
    ("nightscan_engine_batch_size", BATCH_SIZE),
)


def http_families(totals: Totals | None) -> Iterator[Metric]:
    """Every answer by route and status, and how long it took; and the recordings that were answered."""
    requests = counter("nightscan_http_requests_total")
    durations = histogram("nightscan_http_request_duration_seconds")
    found = totals or {}
    for method, endpoint in HTTP_ROUTES if found else ():
        for status in (*HTTP_STATUSES, "other"):
            requests.add_metric([method, endpoint, str(status)], found[f"http.{method}.{endpoint}.{status}"])
        add_histogram(durations, [method, endpoint], http_duration(method, endpoint), found)
    yield from (requests, durations)
    for name, shape in (
        ("nightscan_audio_file_size_bytes", UPLOAD_SIZE),
        ("nightscan_audio_duration_seconds", AUDIO_LENGTH),
    ):
        family = histogram(name)
        if found:
            add_histogram(family, [], shape, found)
        yield family


def seat_families(seats: Sequence[SeatFigures], deployments: Iterable[str]) -> Iterator[Metric]:
    """What instances have counted, by their seats; and of what is deployed, how many are ready.

    `deployments`: those. Of one that is gone no figure would be true: zero is what is alerted of.
    """
    for name, counted, scale in _SEAT_COUNTERS:
        counters = counter(name)
        for seat in seats:
            counters.add_metric(_labels(seat), seat.counters[counted] / scale)
        yield counters
    for name, shape in _SEAT_HISTOGRAMS:
        histograms = histogram(name)
        for seat in seats:
            add_histogram(histograms, _labels(seat), shape, seat.counters)
        yield histograms
    ready = gauge("nightscan_engine_instances_ready")
    for deployment in sorted(deployments):
        ready.add_metric([deployment], sum(seat.gauges["working"] for seat in seats if seat.deployment == deployment))
    yield ready
    yield from _device_memory(seats)


def supervisor_family(totals: Totals | None) -> Metric:
    """Whether a supervisor lives; no series where nobody can tell."""
    family = gauge("nightscan_engine_supervisor_up")
    if totals is not None and "supervisor.lives" in totals:
        family.add_metric([], totals["supervisor.lives"])
    return family


def _device_memory(seats: Sequence[SeatFigures]) -> Iterator[Metric]:
    """As instances see it; a processor has none of its own."""
    for name, figure in (
        ("nvidia_ml_py_memory_used_bytes", "memory_used_bytes"),
        ("nvidia_ml_py_memory_total_bytes", "memory_total_bytes"),
    ):
        family = gauge(name)
        by_device: dict[str, int] = {}
        for seat in seats:
            if seat.gauges["memory_total_bytes"]:
                by_device[seat.device] = max(by_device.get(seat.device, 0), seat.gauges[figure])
        for device, value in sorted(by_device.items()):
            family.add_metric([device], value)
        yield family


def _labels(seat: SeatFigures) -> list[str]:
    return [seat.deployment, str(seat.seat), seat.device]
