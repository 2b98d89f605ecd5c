"""Somebody's own Flask app with guards of its own, served through the engine's Flask views."""

from __future__ import annotations

from flask import Flask

from benchmarks.guards import guard
from frontend import register_optimized_endpoints

application = guard(Flask(__name__))
register_optimized_endpoints(application)
