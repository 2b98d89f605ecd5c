"""Somebody's own Flask app with guards of its own (a limiter, CORS), served through the engine's Flask views."""

from __future__ import annotations

from flask import Flask
from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from frontend import register_optimized_endpoints

application = Flask(__name__)
CORS(application)
Limiter(get_remote_address, app=application, default_limits=["1000000 per second"], storage_uri="memory://")
register_optimized_endpoints(application)
