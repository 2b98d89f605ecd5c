"""Somebody's application that says in its own configuration what its engine is to be."""

from __future__ import annotations

import flask

from frontend.wsgi.extension import NightScan

app = flask.Flask("host")
app.config["NIGHTSCAN_MODEL_POOL_SIZE"] = 2
NightScan(app)
