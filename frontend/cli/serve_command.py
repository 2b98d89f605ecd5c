"""What `nightscan serve` starts: our own application, under which worker class.

The event loop is for the lane; with the lane off, threads are the faster way to ordinary Flask views.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from engine.config import Settings, effective_fast_lane

BASE = (sys.executable, "-m", "gunicorn", "-c", "python:frontend.server.gunicorn_config")
OWN_APP = "frontend.app:create_app()"
ASGI_TARGET = "frontend.app:served_app()"


def serve_command(settings: Settings, arguments: Sequence[str] = ()) -> list[str]:
    """Command line of gunicorn for our own application."""
    target = [ASGI_TARGET] if effective_fast_lane(settings) != "off" else ["-k", "gthread", OWN_APP]
    return [*BASE, *target[:-1], *arguments, target[-1]]
