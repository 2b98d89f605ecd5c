"""HTTP frontends of the engine: public names only; nothing inside the package imports them from here.

They are loaded when they are asked for: Python runs this file before any module of the package, and the command line
would otherwise load Flask with all that the routes need (0.5 s, measured) to print its help.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "NightScan": "frontend.wsgi.extension",
    "create_app": "frontend.app",
    "fast_lane": "frontend.lane.fast_lane",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "frontend.wsgi.integration")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
