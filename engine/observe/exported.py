"""Every exported metric, declared once: name, kind, unit, labels, and what it is.

The table in `frontend/README.md` is made from this one; `exposition.py` gives a family for each. Counters are those of
the machine: every process that is asked gives the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Metric:
    """One exported time series family, in Prometheus terms."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    unit: str  # "" for plain counts
    labels: tuple[str, ...]
    text: str


_SEAT = ("deployment", "seat", "device")

EXPORTED: tuple[Metric, ...] = (
    Metric("nightscan_http_requests_total", "counter", "", ("method", "endpoint", "status"), "HTTP answers"),
    Metric(
        "nightscan_http_request_duration_seconds", "histogram", "s", ("method", "endpoint"),
        "from the headers of a request until its answer is complete; 0 where it is refused before they are there",
    ),
    Metric("nightscan_predictions_total", "counter", "", ("deployment", "status"), "predictions by success or error"),
    Metric("nightscan_prediction_duration_seconds", "histogram", "s", ("deployment",), "latency of predictions"),
    Metric("nightscan_audio_file_size_bytes", "histogram", "bytes", (), "size of uploaded files that were answered"),
    Metric("nightscan_audio_duration_seconds", "histogram", "s", (), "length of the recordings in them"),
    Metric("nightscan_ml_queue_length", "gauge", "", ("deployment",), "requests that wait for an instance"),
    Metric("ml_inference_duration_seconds", "histogram", "s", _SEAT, "from the launch of a batch to its replies"),
    Metric("nvidia_ml_py_memory_used_bytes", "gauge", "bytes", ("device",), "memory in use on a GPU, by whomever"),
    Metric("nvidia_ml_py_memory_total_bytes", "gauge", "bytes", ("device",), "memory of a GPU"),
    Metric("nightscan_engine_cache_hits_total", "counter", "", ("deployment",), "predictions found in the cache"),
    Metric("nightscan_engine_cache_misses_total", "counter", "", ("deployment",), "predictions not found in it"),
    Metric("nightscan_engine_refused_total", "counter", "", ("deployment",), "requests refused: queue full or closing"),
    Metric("nightscan_engine_expired_total", "counter", "", ("deployment",), "requests whose deadline passed"),
    Metric("nightscan_engine_cancelled_total", "counter", "", ("deployment",), "requests whose caller went away"),
    Metric("nightscan_engine_slots", "gauge", "", ("deployment", "state"), "slots of all lanes by state"),
    Metric("nightscan_engine_instances_ready", "gauge", "", ("deployment",), "instances that take what comes"),
    Metric("nightscan_engine_instance_starts_total", "counter", "", _SEAT, "instances that began to work"),
    Metric(
        "nightscan_engine_instance_restarts_total", "counter", "", _SEAT,
        "of these, those in the place of one that had died",
    ),
    Metric("nightscan_engine_batches_total", "counter", "", _SEAT, "batches computed"),
    Metric("nightscan_engine_batched_requests_total", "counter", "", _SEAT, "items computed: windows of recordings"),
    Metric("nightscan_engine_busy_seconds_total", "counter", "s", _SEAT, "time spent on batches"),
    Metric("nightscan_engine_batch_size", "histogram", "", _SEAT, "items that were computed together"),
    Metric("nightscan_engine_queue_seconds", "histogram", "s", _SEAT, "from the arrival of an item until it was taken"),
    Metric("nightscan_engine_supervisor_up", "gauge", "", (), "1 while a supervisor looks after the engine"),
    Metric("nightscan_engine_pool_connections", "gauge", "", ("pool", "state"), "connections of all processes"),
    Metric("nightscan_engine_pool_opened_total", "counter", "", ("pool",), "connections that were opened"),
    Metric("nightscan_engine_pool_lost_total", "counter", "", ("pool",), "connections that broke or were closed"),
    Metric("nightscan_engine_pool_wait_seconds_total", "counter", "s", ("pool",), "waiting for a connection"),
    Metric("nightscan_engine_breaker_open", "gauge", "", ("pool",), "1 while a process has given the server up"),
    Metric("nightscan_engine_pool_refused", "gauge", "", ("pool",), "1 while the server answers, and refuses us"),
    Metric("nightscan_engine_cache_lookups_total", "counter", "", ("level", "result"), "look-ups in the cache"),
    Metric("nightscan_engine_cache_bytes", "gauge", "bytes", (), "what the L1 cache holds"),
    Metric("nightscan_engine_single_flight_total", "counter", "", ("role",), "requests for the same by their role"),
    Metric("nightscan_engine_journal_records_total", "counter", "", ("stage",), "records that came so far"),
    Metric("nightscan_engine_journal_backlog", "gauge", "", (), "records that are not yet where they are to be"),
    Metric("nightscan_engine_journal_oldest_seconds", "gauge", "s", (), "age of the oldest of these"),
    Metric("nightscan_engine_fallbacks_total", "counter", "", ("outcome",), "requests given to the original API"),
    Metric("nightscan_engine_traces_total", "counter", "", ("outcome",), "requests of which a trace was wanted"),
)

BY_NAME = {metric.name: metric for metric in EXPORTED}

_BEGIN, _END = "<!-- metrics:begin -->", "<!-- metrics:end -->"
_HEAD = "| metric | kind | labels | what it says |\n|---|---|---|---|"


def metrics_table() -> str:
    """Every exported metric as one markdown table, a line each."""
    return "\n".join([_HEAD, *(_row(metric) for metric in EXPORTED)])


def replace_metrics(manual: str) -> str:
    """The manual with a fresh table between its markers. Raises ConfigError when a marker is missing."""
    head, begin, rest = manual.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ConfigError(f"the manual has no markers {_BEGIN} and {_END}")
    return f"{head}{_BEGIN}\n{metrics_table()}\n{_END}{tail}"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |"
