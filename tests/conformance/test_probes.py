"""Health, readiness, metrics and statistics: their published shapes, over both ways in and both prefixes."""

from __future__ import annotations

import datetime
import re

import pytest

from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.wire import Address

PREFIXES = ("", "/api")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_health(served: Served, prefix: str) -> None:
    value = served.address.get(f"{prefix}/health").value
    assert set(value) == {"status", "service", "timestamp", "version"}
    assert (value["status"], value["service"]) == ("healthy", "prediction-api")
    assert datetime.datetime.fromisoformat(value["timestamp"]).tzinfo is not None


@pytest.mark.parametrize("prefix", PREFIXES)
def test_ready(served: Served, prefix: str) -> None:
    answer = served.address.get(f"{prefix}/ready")
    value = answer.value
    assert answer.status == 200 and set(value) == {"status", "checks", "cache", "timestamp"}
    assert value["status"] == "ready" and value["checks"]["model_loaded"] is True
    assert set(value["checks"]) == {"model_loaded", "disk_space", "memory", "gpu_available", "cache"}


def test_optimized_health(served: Served) -> None:
    answer = served.address.get("/api/optimized/health")
    value = answer.value
    assert answer.status == 200
    assert set(value) == {"status", "initialized", "timestamp", "model_pools", "active_connections", "reasons"}
    assert value["reasons"] == []
    assert (value["status"], value["initialized"], value["model_pools"]) == ("healthy", True, 1)
    assert set(value["active_connections"]) == {"database", "redis"} and value["timestamp"] > 1_600_000_000


def test_statistics_have_the_published_keys(served: Served) -> None:
    served.address.upload("/api/optimized/predict", sounds.ONE_SECOND)
    answer = served.address.get("/api/optimized/stats")
    value = answer.value
    assert answer.status == 200
    sections = {"connection_pools", "model_pools", "batch_processing", "performance_metrics", "system_resources"}
    assert sections <= set(value)
    metrics = value["performance_metrics"]["wildlife_detector_optimized"]
    assert metrics["total_requests"] >= 1 and metrics["average_latency"] > 0


def series(address: Address, pattern: str) -> float:
    """The value of the one series whose line matches."""
    (value,) = re.findall(rf"^{pattern} (\S+)$", address.get("/metrics").body.decode(), re.MULTILINE)
    return float(value)


def test_metrics_count_what_was_answered(served: Served) -> None:
    refused = r'nightscan_http_requests_total\{endpoint="legacy",method="POST",status="400"\}'
    success = r'nightscan_predictions_total\{deployment="wildlife_detector_optimized",status="success"\}'
    before, successes = series(served.address, refused), series(served.address, success)
    served.address.upload("/api/predict", b"nothing")
    served.address.upload("/api/predict", sounds.ONE_SECOND)
    assert series(served.address, refused) == before + 1
    assert series(served.address, success) == successes + 1
    assert series(served.address, "nightscan_prediction_duration_seconds_count.*") >= successes + 1


@pytest.mark.parametrize("prefix", PREFIXES)
def test_metrics_are_prometheus_text(served: Served, prefix: str) -> None:
    answer = served.address.get(f"{prefix}/metrics")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
    assert b"# TYPE nightscan_ml_queue_length gauge" in answer.body


def test_unknown_paths_are_json_too(served: Served) -> None:
    assert served.address.get("/nowhere").pair == (404, {"error": "Not Found"})
