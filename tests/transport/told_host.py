"""A host whose guard tells each caller what it was told of them, behind it an engine's stand-in."""

from __future__ import annotations

from collections.abc import Mapping

import flask

from engine.config import Settings
from frontend.lane.fast_lane import FastLane
from frontend.lane.gate import gate_of
from frontend.server.message import HttpResponse, json_response
from frontend.testing import StandInEngine
from frontend.wsgi.integration import register_optimized_endpoints

TELL = "x-tell"
SETTINGS = Settings(worker_threads=1)
LABELS = ("owl", "fox", "frog", "newt", "bat", "hare")


def stand_in() -> StandInEngine:
    engine = StandInEngine(labels=LABELS, sample_rate_hz=8000, segment_s=1.0)
    engine.answers([0.3, 0.25, 0.2, 0.15, 0.07, 0.03])
    return engine


def guard(method: str, path: str, headers: Mapping[str, str], address: str) -> HttpResponse | None:
    if TELL not in headers:
        return None
    return json_response(203, {"method": method, "path": path, "headers": dict(headers), "address": address})


def lane(*, enabled: bool | None = None) -> FastLane:
    """On the event loop, or with `enabled=False` over the bridge."""
    app = flask.Flask("told")
    register_optimized_endpoints(app, SETTINGS)
    return FastLane(app, gate_of(app, enabled=enabled, guard=guard, settings=SETTINGS), SETTINGS)


def views() -> flask.Flask:
    """The same for another server's threads, which stand in a process of their own."""
    stand_in().__enter__()
    return lane(enabled=False).app
