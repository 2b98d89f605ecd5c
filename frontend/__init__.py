"""HTTP frontends of the engine: public names only; nothing inside the package imports them from here."""

from frontend.app import create_app
from frontend.lane.fast_lane import fast_lane
from frontend.wsgi.extension import NightScan
from frontend.wsgi.integration import (
    enhance_existing_api_server,
    optimized_prediction_endpoint,
    register_optimized_endpoints,
)

__all__ = [
    "NightScan",
    "create_app",
    "enhance_existing_api_server",
    "fast_lane",
    "optimized_prediction_endpoint",
    "register_optimized_endpoints",
]
