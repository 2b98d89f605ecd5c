"""Gunicorn's dirty arbiter: a Flask app that hands what is slow to processes beside its workers."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request
from gunicorn.dirty import get_dirty_client

_MODEL = "benchmarks.rivals.apps.dirty_model:Model"
application = Flask(__name__)


@application.post("/predict")
def predict() -> Response:
    """The likeliest classes of the recording in the body."""
    return jsonify(get_dirty_client().execute(_MODEL, "predict", request.get_data()))
