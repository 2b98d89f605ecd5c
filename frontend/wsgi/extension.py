"""The engine as a Flask extension, for applications that are made by a function.

    nightscan = NightScan()

    @blueprint.post("/api/predict")
    @login_required
    @nightscan.endpoint                    # innermost: the engine answers, the view while it cannot
    def predict(): ...

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config["NIGHTSCAN_MODEL_PATH"] = "best_model.pth"
        app.register_blueprint(blueprint)
        nightscan.init_app(app)            # adds /api/optimized/predict, /health and /stats
        return app
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask

from engine.config import Settings
from frontend.wsgi.host_settings import settings_of
from frontend.wsgi.integration import optimized_prediction_endpoint, register_optimized_endpoints

EXTENSION = "nightscan_optimized"  # in `app.extensions`


class NightScan:
    """Holds no application: one object serves as many as it is given. Raises ConfigError."""

    def __init__(
        self, app: flask.Flask | None = None, *, url_prefix: str = "", settings: Settings | None = None
    ) -> None:
        """`settings`: for every application, in place of what its `app.config` and the environment say."""
        self._url_prefix = url_prefix
        self._settings = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask, *, url_prefix: str | None = None) -> None:
        """Registers the optimized endpoints on `app`; twice is once. Raises ConfigError."""
        prefix = self._url_prefix if url_prefix is None else url_prefix
        register_optimized_endpoints(app, self._settings, url_prefix=prefix)
        app.extensions[EXTENSION] = self

    def endpoint(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: `optimized_prediction_endpoint` with the settings of whichever application serves the view."""
        return optimized_prediction_endpoint(settings=self._settings)(view)

    def settings_of(self, app: flask.Flask) -> Settings:
        """What is in force for `app`. Raises ConfigError."""
        return settings_of(app, self._settings)
