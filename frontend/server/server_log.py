"""Where the server writes: two loggers of its own, which the worker gives gunicorn's handlers."""

from __future__ import annotations

import logging

SERVER_LOG = logging.getLogger("nightscan.server")
ACCESS_LOG = logging.getLogger("nightscan.access")
