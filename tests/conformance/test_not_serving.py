"""An engine that cannot serve, and clients that do not wait: over both ways in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance import sounds
from tests.conformance.conftest import SETTING, WAYS
from tests.conformance.test_probes import series
from tests.conformance.wire import Address, head
from tests.routes.test_fallback import OriginalServer, original
from tests.support.server import ServerProcess
from tests.support.wait import wait_for
from tests.transport.models import GATE
from tests.transport.test_engine_server import recording

__all__ = ["original"]  # a fixture
LOUD = 30_000  # a first sample for which the model waits


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


@dataclass(frozen=True, kw_only=True)
class Held(Address):
    """A server whose one instance computes no sound of ours while the file `gate` is missing, one item a batch."""

    gate: Path


@pytest.fixture(scope="module", params=WAYS)
def held_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    gate = tmp_path_factory.mktemp("held") / "gate"
    environment = {
        f"{SETTING}MODEL_FACTORY": "tests.transport.models:gated",
        f"{SETTING}MODEL_POOL_SIZE": "1",
        f"{SETTING}MODEL_WARMUP_REQUESTS": "1",
        f"{SETTING}MAX_BATCH_SIZE": "1",
        GATE: str(gate),
    }
    with ServerProcess(WAYS[request.param], environment=environment, ready="/ready") as process:
        yield Held(port=process.port, gate=gate)


@pytest.fixture
def held(held_server: Held) -> Iterator[Held]:
    """With its gate closed; at the end it has computed whatever was left for it."""
    held_server.gate.unlink(missing_ok=True)
    yield held_server
    held_server.gate.touch()
    wait_for(lambda: not _busy(held_server), "all slots free")


def test_the_work_of_a_client_that_hangs_up_is_cancelled(held: Held) -> None:
    content = recording(LOUD)
    start = head("POST", "/api/optimized/predict", {"Content-Type": "audio/wav", "Content-Length": str(len(content))})
    for state in ("leased", "ready"):  # the first is computed, the second waits for it
        with held.connection() as connection:
            connection.send(start + content)
            wait_for(lambda: _slots(held, state) == 1, f"a slot is {state}")
    wait_for(lambda: series(held, "nightscan_engine_cancelled_total.*") == 2, "both are cancelled")


def _busy(address: Address) -> float:
    return sum(_slots(address, state) for state in ("writing", "ready", "leased", "replied"))


def _slots(address: Address, state: str) -> float:
    return series(address, rf'nightscan_engine_slots\{{.*state="{state}"\}}')


def test_a_deadline_is_kept_while_the_model_is_busy(held: Held) -> None:
    content = recording(LOUD)
    answer = held.post("/api/optimized/predict", content, "audio/wav", X_Request_Timeout_Ms="300")
    assert (answer.status, answer.value["code"]) == (504, "DEADLINE_EXCEEDED")
    legacy = held.post("/api/predict", content, "audio/wav", X_Request_Timeout_Ms="300")
    assert legacy.pair == (504, {"error": "Request timeout"})
    assert int(legacy.headers["retry-after"]) >= 1, "the web application's task sends a POST again on 504"
