"""Our own application: every route of both APIs and the probes, nothing else. And the one that gunicorn loads.

Made by `create_app` and not changed since, it may be served by the fast lane; `frontend/lane/seal.py` decides.
"""

from __future__ import annotations

import os

import flask
from gunicorn.util import import_app
from werkzeug.exceptions import HTTPException

from engine.clock import now_ns
from engine.config import Settings, cors_headers, cors_origins, load_settings
from frontend.lane.fast_lane import FastLane, fast_lane
from frontend.lane.seal import seal
from frontend.predict.context import REQUEST_ID_HEADER, RouteContext
from frontend.predict.cors import Cors
from frontend.predict.predict_log import PredictLog
from frontend.routes.table import RouteTable, all_routes
from frontend.server.message import encode_json
from frontend.wsgi.environ import ARRIVAL
from frontend.wsgi.integration import original_of
from frontend.wsgi.views import methods_by_path, view_of

EXTENSION = "nightscan"
APP_VARIABLE = "NIGHTSCAN_APP"  # `package.module:app`, a Flask application for `served_app`; unset: our own


def create_app(settings: Settings | None = None) -> flask.Flask:
    """The application. Raises ConfigError when `settings` is None and the environment's are wrong."""
    settings = settings or load_settings()
    table = all_routes(_context(settings))
    app = flask.Flask("nightscan", static_folder=None)
    app.json.compact = True  # type: ignore[attr-defined]
    app.extensions[EXTENSION] = table
    app.register_blueprint(_blueprint(table))
    app.register_error_handler(HTTPException, _plain_error)
    app.after_request(_TheRest(table.context))
    seal(app)
    return app


def served_app() -> FastLane:
    """What `nightscan serve` runs: our own application, or the one that NIGHTSCAN_APP names, behind the fast lane.

    Raises ConfigError.
    """
    named = os.environ.get(APP_VARIABLE)
    return fast_lane(import_app(named) if named else create_app())


def _context(settings: Settings) -> RouteContext:
    return RouteContext(
        settings,
        original_of(settings),
        Cors(cors_origins(settings), cors_headers(settings)),
        PredictLog(settings.predict_log_file),
    )


def _blueprint(table: RouteTable) -> flask.Blueprint:
    blueprint = flask.Blueprint("nightscan", __name__)
    has_original = table.context.original is not None
    for path, methods in methods_by_path(table.routes).items():
        for method in methods:
            view = view_of(table.routes[method, path], table.context.settings, has_original=has_original)
            name = f"{method} {path}".replace(".", "_")
            blueprint.add_url_rule(path, endpoint=name, view_func=view, methods=[method])
    return blueprint


def _plain_error(error: HTTPException) -> flask.Response:
    """Unknown paths and wrong methods, as JSON like every other error."""
    response = flask.Response(encode_json({"error": error.name}), error.code, content_type="application/json")
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            response.headers[name] = value
    return response


class _TheRest:
    """What answers carry, and where they count, that no handler of ours made: preflights, unknown paths."""

    def __init__(self, context: RouteContext) -> None:
        self._context = context

    def __call__(self, response: flask.Response) -> flask.Response:
        request, cors = flask.request, self._context.cors
        request_headers = {name.lower(): value for name, value in request.headers.items()}
        found = cors.preflight(request_headers) if request.method == "OPTIONS" else cors.headers(request_headers)
        for name, value in found:
            response.headers.setdefault(name, value)
        if REQUEST_ID_HEADER not in response.headers:
            began_ns = request.environ.get(ARRIVAL) or now_ns()
            self._context.count_answer(request.method, "other", response.status_code, now_ns() - began_ns)
        return response
