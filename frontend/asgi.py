"""The application that `nightscan serve` runs: our own, or the one that NIGHTSCAN_APP names, behind the fast lane."""

from __future__ import annotations

import os

from gunicorn.util import import_app

from frontend.app import create_app
from frontend.cli_serve import APP_VARIABLE
from frontend.fast_lane import FastLane, fast_lane


def build() -> FastLane:
    """The application by environment and settings. Raises ConfigError."""
    named = os.environ.get(APP_VARIABLE)
    return fast_lane(import_app(named) if named else create_app())


application = build()
