"""An engine that cannot serve, and clients that do not wait: over both ways in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import sounds
from tests.conformance.conftest import SETTING, WAYS
from tests.conformance.test_probes import series
from tests.conformance.wire import Address, head
from tests.routes.test_fallback import OriginalServer, original
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

__all__ = ["original"]  # a fixture


@pytest.fixture(params=WAYS)
def broken(request: pytest.FixtureRequest, original: OriginalServer) -> Iterator[Address]:
    """A server whose model cannot be made, with the original API beside it."""
    environment = {
        f"{SETTING}MODEL_FACTORY": "engine.testing.models:broken",
        f"{SETTING}ORIGINAL_API_URL": original.url,
    }
    with ServerProcess(WAYS[request.param], environment=environment, ready="/health") as process:
        yield Address(process.port)


def test_the_probes_tell_and_the_original_answers(broken: Address, original: OriginalServer) -> None:
    assert broken.get("/health").value["status"] == "healthy"
    ready = broken.get("/api/ready")
    assert ready.status == 503 and ready.value["status"] == "not_ready" and not ready.value["checks"]["model_loaded"]
    health = broken.get("/api/optimized/health")
    assert health.status == 503
    assert {**health.value, "timestamp": 0} == {"status": "not_ready", "initialized": False, "timestamp": 0}
    assert broken.get("/metrics").status == 200 and broken.get("/api/optimized/stats").status == 200
    for path in ("/api/predict", "/api/optimized/predict"):
        answer = broken.upload(path, sounds.ONE_SECOND)
        assert answer.headers["x-served-by"] == "original" and answer.value == [{"segment": "original"}]
    assert broken.upload("/api/predict", b"", "").status == 400, "a bad upload is refused here"
    original.shutdown()
    original.server_close()
    for path in ("/api/predict", "/api/optimized/predict"):
        answer = broken.upload(path, sounds.ONE_SECOND)
        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1


@pytest.fixture(scope="module", params=WAYS)
def slow(request: pytest.FixtureRequest) -> Iterator[Address]:
    """One instance that takes a second a batch, one item a batch."""
    environment = {
        f"{SETTING}MODEL_FACTORY": "engine.testing.models:slow",
        f"{SETTING}MODEL_POOL_SIZE": "1",
        f"{SETTING}MODEL_WARMUP_REQUESTS": "1",
        f"{SETTING}MAX_BATCH_SIZE": "1",
        f"{SETTING}SAMPLE_RATE_HZ": "8000",
        f"{SETTING}SEGMENT_S": "0.2",
        "NIGHTSCAN_TEST_SLEEP_S": "1.0",
    }
    with ServerProcess(WAYS[request.param], environment=environment, ready="/ready") as process:
        yield Address(process.port)


def test_the_work_of_a_client_that_hangs_up_is_cancelled(slow: Address) -> None:
    content = sounds.wav(sounds.tone(0.2))
    start = head("POST", "/api/optimized/predict", {"Content-Type": "audio/wav", "Content-Length": str(len(content))})
    for _ in range(2):
        with slow.connection() as connection:
            connection.send(start + content)
            wait_for(lambda: 0 < _busy(slow), "the request is in a slot")
    wait_for(lambda: series(slow, "nightscan_engine_cancelled_total.*") == 2, "both are cancelled")
    wait_for(lambda: not _busy(slow), "all slots free")


def _busy(address: Address) -> float:
    states = ("writing", "ready", "leased", "replied")
    return sum(series(address, rf'nightscan_engine_slots\{{.*state="{state}"\}}') for state in states)


def test_a_deadline_is_kept_while_the_model_is_busy(slow: Address) -> None:
    content = sounds.wav(sounds.tone(0.2))
    answer = slow.post("/api/optimized/predict", content, "audio/wav", X_Request_Timeout_Ms="300")
    assert (answer.status, answer.value["code"]) == (504, "DEADLINE_EXCEEDED")
    legacy = slow.post("/api/predict", content, "audio/wav", X_Request_Timeout_Ms="300")
    assert legacy.pair == (504, {"error": "Request timeout"})
    assert int(legacy.headers["retry-after"]) >= 1, "the web application's task sends a POST again on 504"
    wait_for(lambda: not _busy(slow), "all slots free")
