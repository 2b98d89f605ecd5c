"""The published proxies in front: a site that strips /api, one that does not, a gateway that strips the whole path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.nginx import nginx
from tests.conformance.wire import Address, multipart

OPTIMIZED = "/api/optimized/predict"


@pytest.fixture(params=["site-keeps-api.conf", "site-strips-api.conf"])
def front(request: pytest.FixtureRequest, served: Served, runtime_dir: Path) -> Iterator[Address]:
    with nginx(runtime_dir, request.param, served.address) as address:
        yield address


def test_predictions_and_probes_through_both_sites(front: Address) -> None:
    assert front.upload("/api/predict", sounds.ONE_SECOND).value[0]["segment"] == "night.wav"
    assert front.upload("/api/predict/predict", sounds.ONE_SECOND).status in (200, 404)
    assert front.upload(OPTIMIZED, sounds.ONE_SECOND).status == 200
    assert front.get("/api/health").value["status"] == "healthy"
    assert front.get("/api/ready").value["status"] == "ready"
    assert front.get("/api/metrics").status == 200
    assert front.get("/api/optimized/health").status == 200


def test_refusals_pass_unchanged(front: Address) -> None:
    assert front.upload("/api/predict", b"x", "x.mp3").pair == (400, {"error": "WAV file required"})
    answer = front.upload(OPTIMIZED, b"x")
    assert answer.status == 415 and answer.headers["x-request-id"] == answer.value["request_id"]


def test_the_callers_request_id_and_timing_pass(front: Address) -> None:
    answer = front.post(OPTIMIZED, sounds.ONE_SECOND, "audio/wav", X_Request_ID="through-nginx")
    assert answer.headers["x-request-id"] == "through-nginx" and "total;dur=" in answer.headers["server-timing"]


def test_connections_behind_the_proxy_are_used_again(front: Address) -> None:
    with requests.Session() as session:
        for _ in range(20):
            files = {"file": ("night.wav", sounds.ONE_SECOND)}
            assert session.post(f"{front.url}/api/predict", files=files, timeout=30).status_code == 200


def test_a_recording_of_megabytes(front: Address) -> None:
    content = sounds.wav(sounds.tone(120, rate_hz=44100), rate_hz=44100)
    assert len(front.upload(OPTIMIZED, content).value["segments"]) == 120


def test_a_gateway_that_strips_the_whole_path(served: Served, runtime_dir: Path) -> None:
    with nginx(runtime_dir, "site-strips-path.conf", served.address) as front:
        body, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
        answer = front.post("/predictions", body, kind, Authorization="Bearer token")
        assert answer.status == 200 and answer.value[0]["segment"] == "night.wav"
