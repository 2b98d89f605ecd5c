"""The stand-in engine for other people's tests keeps the real one's contract: the same tests over both."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import flask
import numpy as np
import pytest

from engine.client import EngineClient, Item
from engine.clock import Deadline
from engine.config import Settings, load_settings
from engine.errors import (
    DeadlineExceeded,
    DeploymentFailed,
    EngineClosed,
    EngineError,
    InvalidField,
    ModelCrashed,
    ModelFailed,
    NotReady,
    QueueFull,
    UnknownDeployment,
)
from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.app import create_app
from frontend.lane.fast_lane import fast_lane
from frontend.testing import StandInEngine, Window
from frontend.wsgi.integration import register_optimized_endpoints
from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.model import FRAMES, LABELS, SAMPLE_RATE_HZ, SEGMENT_S
from tests.conformance.wire import multipart
from tests.support.http import fetch
from tests.support.lane_host import serve

OPTIMIZED = "/api/optimized/predict"
MEASURED = {"request_id", "latency", "batch_size", "model_version"}  # differ from request to request


def loud_parts(window: Window) -> list[float]:
    """What `tests.conformance.model` computes."""
    parts = np.abs(window[: FRAMES // len(LABELS) * len(LABELS)]).reshape(len(LABELS), -1).mean(axis=1)
    raised = np.exp(6.0 * parts - (6.0 * parts).max())
    return list((raised / raised.sum()).tolist())


@pytest.fixture
def stand_in() -> Iterator[StandInEngine]:
    with StandInEngine(labels=LABELS, sample_rate_hz=SAMPLE_RATE_HZ, segment_s=SEGMENT_S) as engine:
        engine.answers(loud_parts)
        yield engine


@pytest.fixture(params=["stand-in", "real engine"])
def client(request: pytest.FixtureRequest, served: Served, stand_in: StandInEngine) -> Iterator[Any]:
    """What frontends ask: an engine's client, or what stands in for one."""
    if request.param == "stand-in":
        yield stand_in
        return
    settings = load_settings({"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}).changed(
        runtime_dir=str(served.process.runtime_dir)
    )
    attached = EngineClient.attach(runtime_dir=settings.runtime_dir, wait_s=30, settings=settings)
    yield attached
    attached.close()


def submit(client: Any, *items: Item, deployment_id: str = DEFAULT_DEPLOYMENT_ID, timeout_s: float = 30) -> Any:
    return client.submit(deployment_id, items, request_id="contract", deadline=Deadline.after_s(timeout_s))


def an_item(frames: int = FRAMES, dtype: Any = np.float32) -> Item:
    return Item(np.full(frames, 1, dtype))


# --- the client's contract ------------------------------------------------------------------------------------------


def test_a_ticket_is_answered_once_and_for_each_item(client: Any) -> None:
    ticket = submit(client, an_item(), an_item(FRAMES // 2), Item(np.full(FRAMES, 16384, np.int16), gain=2.0))
    called = threading.Event()
    ticket.add_done_callback(lambda _: called.set())
    answers = ticket.wait()
    assert called.wait(5) and ticket.done and ticket.error is None
    assert [answer.probabilities.shape for answer in answers] == [(len(LABELS),)] * 3
    assert all(answer.probabilities.dtype == np.float32 and answer.batch_size >= 1 for answer in answers)
    expected = [loud_parts(np.ones(FRAMES, np.float32)), loud_parts(np.repeat([1, 0], FRAMES // 2)), [1 / 6] * 6]
    assert np.allclose([answer.probabilities for answer in answers], expected, atol=1e-5)
    ticket.cancel()
    assert ticket.wait() == answers, "too late to cancel"


def test_what_cannot_be_served_is_refused_by_name(client: Any) -> None:
    with pytest.raises(UnknownDeployment):
        submit(client, an_item(), deployment_id="no-such")
    with pytest.raises(DeadlineExceeded):
        submit(client, an_item(), timeout_s=0)
    for items in ([], [an_item(FRAMES + 1)], [an_item(0)], [an_item(dtype=np.float64)], [Item(np.ones((2, 2), "f4"))]):
        with pytest.raises(InvalidField):
            submit(client, *items)


def test_what_a_client_says_of_its_model(client: Any) -> None:
    description = client.description(DEFAULT_DEPLOYMENT_ID)
    assert (description.labels, description.classes, description.input_shape) == (LABELS, len(LABELS), (FRAMES,))
    assert description.is_waveform and description.sample_rate_hz == SAMPLE_RATE_HZ
    assert client.deployments() == [DEFAULT_DEPLOYMENT_ID] and client.state(DEFAULT_DEPLOYMENT_ID) == "ready"
    assert client.ready(DEFAULT_DEPLOYMENT_ID) and not client.ready("no-such") and not client.closed
    client.count("cache_misses")
    for ask in (client.description, client.state):
        with pytest.raises(UnknownDeployment):
            ask("no-such")


# --- the same answers over HTTP -------------------------------------------------------------------------------------

REQUESTS = {
    "one window": (OPTIMIZED, sounds.ONE_SECOND),
    "two windows": (f"{OPTIMIZED}?overlap_s=0.2&top_k=2", sounds.TWO_CALLS),
    "bulk": (f"{OPTIMIZED}?priority=-1", sounds.ONE_SECOND),
    "another format": (OPTIMIZED, sounds.encoded(sounds.tone(0.7), "FLAC")),
    "the original route": ("/api/predict", sounds.TWO_CALLS),
    "silent": (OPTIMIZED, sounds.SILENT),
    "not audio": (OPTIMIZED, sounds.png()),
    "a wrong field": (f"{OPTIMIZED}?top_k=none", sounds.ONE_SECOND),
    "no such deployment": (f"{OPTIMIZED}?deployment=no-such", sounds.ONE_SECOND),
    "health": ("/api/optimized/health", b""),
    "ready": ("/ready", b""),
}


def comparable(value: Any) -> Any:
    """Without what is measured; probabilities as far as two ways of computing agree."""
    if isinstance(value, dict):
        return {name: comparable(item) for name, item in value.items() if name not in MEASURED | {"timestamp"}}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


@pytest.mark.parametrize("name", REQUESTS)
def test_an_application_answers_with_the_stand_in_as_with_the_engine(
    name: str, served: Served, stand_in: StandInEngine
) -> None:
    path, content = REQUESTS[name]
    client = create_app(Settings(cache_l1_mb=0)).test_client()  # as the server's: see `ServerProcess`
    if content:
        body, kind = multipart(content, "night.wav", "audio/wav")
        real, stood_in = served.address.post(path, body, kind), client.post(path, data=body, content_type=kind)
    else:
        real, stood_in = served.address.get(path), client.get(path)
    assert (stood_in.status_code, comparable(stood_in.json)) == (real.status, comparable(real.value))


# --- what a test may make of it -------------------------------------------------------------------------------------


def host() -> flask.Flask:
    app = flask.Flask("host")
    register_optimized_endpoints(app, Settings())
    return app


def post(app: flask.Flask, content: bytes = sounds.ONE_SECOND, **headers: str) -> Any:
    body, kind = multipart(content, "night.wav", "audio/wav")
    return app.test_client().post(OPTIMIZED, data=body, content_type=kind, headers=headers)


@pytest.mark.parametrize(
    "error, status, code",
    [
        (QueueFull(retry_after_s=7), 429, "QUEUE_FULL"),
        (DeploymentFailed("no weights"), 503, "DEPLOYMENT_FAILED"),
        (EngineClosed(), 503, "CLOSING"),
        (DeadlineExceeded(), 504, "DEADLINE_EXCEEDED"),
        (ModelFailed(), 500, "MODEL_FAILED"),
        (ModelCrashed(), 500, "MODEL_CRASHED"),
    ],
)
def test_every_error_can_be_had_and_ends_with_the_next_answer(
    stand_in: StandInEngine, error: EngineError, status: int, code: str
) -> None:
    app = host()
    stand_in.fails(error)
    refused = post(app)
    assert (refused.status_code, refused.json["code"]) == (status, code)
    assert refused.headers.get("Retry-After") == {429: "7", 503: "1", 504: "1"}.get(status)
    stand_in.answers([0, 0, 0, 1, 0, 0])
    assert post(app).json["predicted_label"] == LABELS[3]


def test_what_was_asked_is_told(stand_in: StandInEngine) -> None:
    post(host(), sounds.TWO_CALLS, X_Request_ID="r-1")
    [asked] = stand_in.requests
    assert (asked.deployment_id, asked.request_id, asked.level) == (DEFAULT_DEPLOYMENT_ID, "r-1", 0)
    assert [window.shape for window in asked.windows] == [(FRAMES,)] * len(asked.windows)
    assert max(float(np.abs(window).max()) for window in asked.windows) == pytest.approx(1.0, abs=1e-3)


def test_an_engine_that_is_starting_can_be_had(stand_in: StandInEngine) -> None:
    stand_in.is_ready = False
    assert post(host()).status_code == 503
    with pytest.raises(NotReady):
        stand_in.description(DEFAULT_DEPLOYMENT_ID)


def test_it_stands_in_on_the_fast_lane_too(stand_in: StandInEngine) -> None:
    lane = fast_lane(host(), enabled=True, settings=Settings())
    with serve(lane) as address:
        answer = fetch(address, "POST", OPTIMIZED, sounds.ONE_SECOND, Content_Type="audio/wav")
    lane.close()
    assert answer.status == 200 and len(stand_in.requests) == 1


def test_outside_of_it_there_is_no_engine_and_none_is_started() -> None:
    def is_loaded(settings: Settings) -> bool:
        ready: Any = create_app(settings).test_client().get("/ready").json
        return bool(ready["checks"]["model_loaded"])

    with StandInEngine():
        assert is_loaded(Settings())
    assert not is_loaded(Settings(enabled=False))
