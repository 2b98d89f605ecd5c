"""What a newcomer does first: plain `gunicorn` in a checkout, and night recordings to both routes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.wire import Address
from tests.serving.servers import ROUTES
from tests.support.server import ROOT, ServerProcess
from tests.support.shared import NIGHTS, REAL, Night


@pytest.fixture(scope="module")
def checkout() -> Iterator[ServerProcess]:
    """No argument at all: `gunicorn.conf.py` of the checkout says the rest."""
    with ServerProcess([], directory=ROOT, ready="/ready") as process:
        yield process


def test_the_start_says_where_to_send_and_where_to_look(checkout: ServerProcess) -> None:
    assert f"curl -F file=@recording.wav http://127.0.0.1:{checkout.port}/api/optimized/predict" in checkout.log
    assert f"http://127.0.0.1:{checkout.port}/api/optimized/stats" in checkout.log


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("night", NIGHTS)
def test_a_night_is_answered(checkout: ServerProcess, night: Night, route: str) -> None:
    answer = Address(checkout.port).post(route, night.content, "audio/wav")
    assert answer.status == 200, answer.body
    value = answer.value
    segments = value["segments"] if isinstance(value, dict) else value
    begins_s = [segment["start_s" if "start_s" in segment else "time"] for segment in segments]
    if isinstance(value, dict) or night in REAL:  # a made night may begin in silence, which the original route cuts off
        assert begins_s[0] == 0.0
    assert begins_s == sorted(begins_s)
