"""What somebody's own app puts before its views in the comparison: Flask-Limiter and Flask-CORS."""

from __future__ import annotations

from flask import Flask
from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address


def guard(app: Flask) -> Flask:
    """`app`, limited to more requests than anybody sends, and open to all origins."""
    CORS(app)
    Limiter(get_remote_address, app=app, default_limits=["1000000 per second"], storage_uri="memory://")
    return app
