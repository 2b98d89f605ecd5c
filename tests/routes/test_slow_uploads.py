"""When an answer is due after a body that came slowly, on the lane and over the bridge."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing

import pytest

from engine.config import Settings
from frontend.app import create_app
from frontend.lane.fast_lane import fast_lane
from frontend.testing import StandInEngine
from tests.conformance import sounds
from tests.support.http import Connection, request_bytes
from tests.support.lane_host import serve
from tests.support.wait import wait_for

SETTINGS = Settings(request_timeout_ms=500)
TAKES_S = 0.6  # longer than the deadline


@pytest.mark.parametrize("lane", [None, False], ids=["on the lane", "over the bridge"])
@pytest.mark.parametrize(("named", "status"), [({}, 200), ({"X-Request-Timeout-Ms": "500"}, 504)], ids=["own", "named"])
def test_only_a_timeout_that_the_caller_names_runs_while_the_body_comes(
    lane: bool | None, named: dict[str, str], status: int
) -> None:
    request = request_bytes("POST", "/api/optimized/predict", sounds.ONE_SECOND, {"Content-Type": "audio/wav", **named})
    with ExitStack() as stack:
        stack.enter_context(StandInEngine())
        application = stack.enter_context(closing(fast_lane(create_app(SETTINGS), enabled=lane, settings=SETTINGS)))
        connection = stack.enter_context(Connection(stack.enter_context(serve(application))))
        connection.send(request[:-100])
        began_s = time.monotonic()
        wait_for(lambda: time.monotonic() - began_s > TAKES_S, "the slow link")
        connection.send(request[-100:])
        assert connection.read_response().status == status
