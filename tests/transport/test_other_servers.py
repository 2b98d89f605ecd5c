"""Under an ASGI server that is not ours there is no lane, and the bridge does with what ASGI gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import Settings
from frontend.app import create_app
from frontend.lane.fast_lane import FastLane
from frontend.lane.gate import gate_of
from frontend.wsgi.bridge import Bridge
from tests.support.http import Connection, chunked, fetch, request_bytes
from tests.support.lane_host import serve_by_uvicorn
from tests.support.wait import wait_for
from tests.transport.apps import wsgi


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    bridge = Bridge(wsgi, threads=4)
    with serve_by_uvicorn(bridge) as found:
        yield found
    bridge.close()


def test_bodies_arrive_and_answers_go_out(address: tuple[str, int]) -> None:
    with Connection(address) as connection:
        for size in (0, 1000, 3_000_000):
            assert connection.request("POST", "/echo", b"x" * size).json()["bytes"] == size
            body = chunked(b"x" * size)
            answer = connection.request("POST", "/echo", body, {"Transfer-Encoding": "chunked"}).json()
            assert answer["bytes"] == size


def test_a_stream_stops_with_its_client(address: tuple[str, int], tmp_path: Path) -> None:
    told = tmp_path / "closed"
    with Connection(address) as connection:
        connection.send(request_bytes("GET", f"/stream?file={told}"))
        assert connection.socket.recv(100).startswith(b"HTTP/1.1 200")
    wait_for(told.exists, "the application's iterable closed")


def test_our_application_answers_by_its_views() -> None:
    settings = Settings(enabled=False)
    app = create_app(settings)
    lane = FastLane(app, gate_of(app, enabled=None, guard=None, settings=settings), settings)
    with serve_by_uvicorn(lane) as address:
        assert fetch(address, "GET", "/health").json()["status"] == "healthy"
    lane.close()
