"""gunicorn reads this file by itself when started here; everything is in `frontend/server/gunicorn_config.py`."""

from frontend.server.gunicorn_config import *  # noqa: F401,F403
