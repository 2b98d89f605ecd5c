"""Somebody's application that opens the fast lane with a guard of its own."""

from __future__ import annotations

from collections.abc import Mapping

import flask

from frontend.lane.fast_lane import fast_lane
from frontend.wsgi.integration import register_optimized_endpoints

app = flask.Flask("host")
app.add_url_rule("/own", "own", lambda: "the host's own page")
app.add_url_rule("/ready", "ready", lambda: "")
register_optimized_endpoints(app)


def guard(method: str, path: str, headers: Mapping[str, str], address: str) -> flask.Response | None:
    return None if "x-pass" in headers else flask.Response("no", 401)


application = fast_lane(app, guard=guard)
