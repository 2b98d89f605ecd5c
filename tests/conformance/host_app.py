"""Somebody else's application: a token, a limiter, cross-origin headers, and a prediction view of its own."""

from __future__ import annotations

from typing import Any

import flask
from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from frontend import enhance_existing_api_server, register_optimized_endpoints

LIMIT = 60

app = flask.Flask("host")
CORS(app, origins=["https://host.example"])
Limiter(get_remote_address, app=app, default_limits=[f"{LIMIT} per hour"], storage_uri="memory://")


@app.before_request
def check_token() -> Any:
    """Every request but the greeting needs the host's token."""
    if flask.request.path != "/hello" and flask.request.headers.get("X-Host-Token") != "open":
        return {"error": "token"}, 401
    return None


@app.get("/hello")
def hello() -> Any:
    return "hello"


@app.post("/api/predict")
def predict() -> Any:
    """The host's own prediction; what the engine's answer replaces."""
    return [{"segment": flask.request.files["file"].filename, "predictions": []}]


register_optimized_endpoints(app)
enhance_existing_api_server(app)
