"""gunicorn reads this file by itself when started here; everything is in `frontend/gunicorn_config.py`."""

from frontend.gunicorn_config import *  # noqa: F401,F403
