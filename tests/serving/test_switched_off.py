"""`enabled=false`, and the original API in every combination of having one and wanting it: no engine is started."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.conformance import sounds
from tests.routes.test_fallback import OriginalServer, original
from tests.serving.servers import ROUTES, address_of, server

__all__ = ["original"]  # a fixture

OPTIMIZED, LEGACY = ROUTES
OFF = {"enabled": "false"}
REFUSALS = {OPTIMIZED: "Optimized serving not available", LEGACY: "Service not available"}


def test_the_original_answers_on_its_own_route_and_no_engine_runs(original: OriginalServer) -> None:
    with server({**OFF, "original_api_url": original.url}, ready="/health") as process:
        address = address_of(process)
        answer = address.upload(LEGACY, sounds.ONE_SECOND)
        assert answer.pair == (200, [{"segment": "original"}]) and answer.headers["x-served-by"] == "original"
        answer = address.upload(OPTIMIZED, sounds.ONE_SECOND)
        assert (answer.status, answer.value["error"]) == (503, REFUSALS[OPTIMIZED])
        assert [path for path, _, _ in original.asked] == [LEGACY]
        assert address.get("/ready").status == 503 and address.get("/api/optimized/stats").status == 200
        assert set(process.processes()) == {process.pid, *process.workers()}, "a master and frontends, no engine"


@pytest.mark.parametrize("wanted", [True, False])
def test_without_an_original_or_without_wanting_it_the_answer_is_503(original: OriginalServer, wanted: bool) -> None:
    settings = OFF if wanted else {**OFF, "fallback_to_original": "false", "original_api_url": original.url}
    with server(settings, ready="/health") as process:
        for route in ROUTES:
            answer = address_of(process).upload(route, sounds.ONE_SECOND)
            assert (answer.status, answer.value["error"]) == (503, REFUSALS[route])
            assert int(answer.headers["retry-after"]) >= 1
    assert not original.asked


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of somebody who never accepts, with nowhere left to wait: connecting to it hangs."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        with socket.create_connection(listener.getsockname()):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_original_that_cannot_be_reached_is_given_up(deaf: str) -> None:
    settings = {**OFF, "original_api_url": deaf, "http_connection_timeout": 0.2}
    with server(settings, ready="/health") as process:
        begin = time.monotonic()
        answer = address_of(process).upload(LEGACY, sounds.ONE_SECOND)
        assert (answer.status, answer.value["error"]) == (503, REFUSALS[LEGACY])
        assert 0.2 <= time.monotonic() - begin < 8, "the default would be ten seconds"
