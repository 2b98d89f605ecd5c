"""What `nightscan serve APP` starts: under which worker class, and with which settings.

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
from frontend.cli.serve_command import ASGI_TARGET, BASE
from frontend.lane.fast_lane import FastLane
from frontend.lane.seal import seal_of
from frontend.wsgi.host_settings import settings_of


def app_command(settings: Settings, app: str, arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Environment and command line of gunicorn. Raises ConfigError for an `app` that cannot be imported."""
    found = _imported(app)
    if isinstance(found, FastLane):
        return _environment_of(found.app), [*BASE, *arguments, app]
    environment = _environment_of(found)
    if effective_fast_lane(settings) != "off" and seal_of(found) is not None:
        return {**environment, APP_VARIABLE: app}, [*BASE, *arguments, ASGI_TARGET]
    return environment, [*BASE, "-k", "gthread", *arguments, app]


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
