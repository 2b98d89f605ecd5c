"""The engine inside somebody else's application under plain gunicorn: its checks hold, its view is the fallback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import sounds
from tests.conformance.conftest import MODEL
from tests.conformance.host_app import LIMIT
from tests.conformance.wire import Address, Answer, multipart
from tests.support.server import ServerProcess, free_port
from tests.support.wait import wait_for

BODY, KIND = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
OPTIMIZED = "/api/optimized/predict"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """No configuration of ours: the first request starts the engine, and the master's end ends it."""
    nothing = tmp_path_factory.mktemp("gunicorn") / "empty.py"  # or else gunicorn takes the one in this folder
    nothing.touch()
    port = free_port()
    served = ["-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "4", "--no-control-socket"]
    arguments = ["-c", str(nothing), *served, "tests.conformance.host_app:app"]
    with ServerProcess(arguments, environment=MODEL, ready="/hello", port=port):
        yield Address(port)


def post(host: Address, path: str, **headers: str) -> Answer:
    return host.post(path, BODY, KIND, X_Host_Token="open", Origin="https://host.example", **headers)


def test_first_the_view_answers_then_the_engine(host: Address) -> None:
    first = post(host, "/api/predict")
    assert first.status == 200 and first.value[0]["segment"] == "night.wav"

    wait_for(lambda: healthy(host), "the engine serves", timeout_s=60, step_s=2.0)
    answer = post(host, "/api/predict")
    assert "x-served-by" not in answer.headers and len(answer.value[0]["predictions"]) == 3
    assert post(host, OPTIMIZED).value["predicted_label"]


def healthy(host: Address) -> bool:
    request = b"GET /api/optimized/health HTTP/1.1\r\nHost: x\r\nX-Host-Token: open\r\n\r\n"
    return host.send(request).status == 200


def test_the_hosts_token_is_needed_for_the_engines_routes(host: Address) -> None:
    for path in (OPTIMIZED, "/api/predict"):
        assert host.post(path, BODY, KIND).pair == (401, {"error": "token"})


def test_the_hosts_cross_origin_headers_are_there_once(host: Address) -> None:
    assert post(host, OPTIMIZED).headers["access-control-allow-origin"] == "https://host.example"


def test_the_hosts_limiter_counts_the_engines_routes(host: Address) -> None:
    statuses = [post(host, OPTIMIZED).status for _ in range(LIMIT + 1)]
    assert statuses[-1] == 429 and set(statuses) <= {200, 429}
