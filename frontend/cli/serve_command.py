"""What `nightscan serve` starts: which application, under which worker class.

The event loop is for the lane; with the lane off, threads are the faster way to ordinary Flask views. Whether the lane
is on is known once the application is imported, so it is imported here too, before gunicorn's frontends do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import flask
from gunicorn.errors import AppImportError
from gunicorn.util import import_app

from engine.config import Settings, effective_fast_lane
from engine.errors import ConfigError
from frontend.app import APP_VARIABLE
from frontend.lane.fast_lane import FastLane
from frontend.lane.seal import seal_of
from frontend.wsgi.host_settings import settings_of

OWN_APP = "frontend.app:create_app()"
ASGI_TARGET = "frontend.app:served_app()"


def serve_command(settings: Settings, app: str | None, arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Environment and command line of gunicorn. Raises ConfigError for an `app` that cannot be imported."""
    base = [sys.executable, "-m", "gunicorn", "-c", "python:frontend.server.gunicorn_config"]
    lane = effective_fast_lane(settings)
    if app is None:
        target = [ASGI_TARGET] if lane != "off" else ["-k", "gthread", OWN_APP]
        return {}, [*base, *target[:-1], *arguments, target[-1]]
    found = _imported(app)
    if isinstance(found, FastLane):
        return _environment_of(found.app), [*base, *arguments, app]
    environment = _environment_of(found)
    if lane != "off" and seal_of(found) is not None:
        return {**environment, APP_VARIABLE: app}, [*base, *arguments, ASGI_TARGET]
    return environment, [*base, "-k", "gthread", *arguments, app]


def _environment_of(app: object) -> dict[str, str]:
    """What `app.config` says of our settings, for the engine, which starts before the application is imported again."""
    return settings_of(app).to_environment() if isinstance(app, flask.Flask) else {}


def _imported(app: str) -> object:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return import_app(app)
    except (AppImportError, ImportError) as error:
        raise ConfigError(f"cannot import {app}: {error}") from error
