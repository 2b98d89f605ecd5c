"""Putting the engine into somebody else's Flask application, behind all of its own checks.

Nothing here goes round a login, a limiter or a `before_request` of the host: views are registered on the host's own
application, and a view is only replaced when nothing is wrapped around it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flask

from engine.config import Settings, load_settings
from engine.errors import ConfigError
from frontend.attach import current_client
from frontend.context import Original, RouteContext
from frontend.fallback import SERVED_BY_ORIGINAL, OriginalApi
from frontend.http_message import HttpRequest, HttpResponse
from frontend.lane_gate import Guard
from frontend.predict_log import PredictLog
from frontend.prediction import PredictionRoute
from frontend.routes.table import legacy_route, optimized_routes
from frontend.views import answer, methods_by_path, replay_body, request_from_flask, to_flask, view_of

LEGACY_PATH = "/api/predict"

_REFUSAL = """\
the view {name!r} of {path} is decorated ({why}); replacing it would skip what the decorator checks. Either put
@optimized_prediction_endpoint innermost, under the other decorators, in place of enhance_existing_api_server:

    @app.post("{path}")
    @login_required                       # your decorators stay outside
    @optimized_prediction_endpoint(fallback_to_original=True)
    def {name}(): ...

or give guard=callable(method, path, headers, address) that does the same checks, or trust_view=True when the
decorator checks nothing."""


def register_optimized_endpoints(app: flask.Flask, settings: Settings | None = None) -> None:
    """Adds `/api/optimized/predict`, `/health` and `/stats` to `app`. Raises ConfigError."""
    settings = settings or load_settings()
    context = RouteContext(settings, original_of(settings))
    routes = optimized_routes(context)
    blueprint = flask.Blueprint("nightscan_optimized", __name__)
    for path, methods in methods_by_path(routes).items():
        for method in methods:
            view = view_of(routes[method, path], settings, has_original=context.original is not None)
            blueprint.add_url_rule(path, endpoint=path.rpartition("/")[2], view_func=view, methods=[method])
    app.register_blueprint(blueprint)


def enhance_existing_api_server(
    app: flask.Flask, guard: Guard | None = None, trust_view: bool = False, settings: Settings | None = None
) -> None:
    """Lets the engine answer the application's own `/api/predict`, in its format; its view becomes the fallback.

    Raises ConfigError when there is no such view, and for a decorated view unless `guard` or `trust_view` is given.
    """
    endpoint = _endpoint_of(app)
    view = app.view_functions[endpoint]
    why = _decoration_of(view)
    if why and guard is None and not trust_view:
        name = getattr(view, "__name__", endpoint)
        raise ConfigError(_REFUSAL.format(name=name, path=LEGACY_PATH, why=why))
    enhanced = _enhanced(view, settings or load_settings(), fallback=True)
    app.view_functions[endpoint] = _guarded(enhanced, guard) if guard else enhanced


def optimized_prediction_endpoint(
    fallback_to_original: bool = True, settings: Settings | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator for a prediction view: the engine answers in the original format, the view while it cannot.

    Must be the innermost decorator, so that the others go on checking. `fallback_to_original=False`: 503 instead.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        return _enhanced(view, settings or load_settings(), fallback=fallback_to_original)

    return decorate


def original_of(settings: Settings) -> OriginalApi | None:
    """The original API over HTTP, when the settings name one and allow it."""
    wanted = settings.fallback_to_original and settings.original_api_url
    return OriginalApi(settings) if wanted else None


def _enhanced(view: Callable[..., Any], settings: Settings, *, fallback: bool) -> Callable[..., Any]:
    @functools.wraps(view)
    def enhanced(*args: Any, **kwargs: Any) -> flask.Response:
        request = request_from_flask(settings.max_upload_bytes)
        client = current_client(settings, wait_s=0.0 if original else _PATIENCE_S)
        return to_flask(answer(route, request, client))

    original: Original | None = None
    if fallback and settings.fallback_to_original:
        original = functools.partial(_ask_view, view)
    context = RouteContext(settings, original, predict_log=PredictLog(settings.predict_log_file))
    route: PredictionRoute = legacy_route(context)
    return enhanced


_PATIENCE_S = 10.0


def _ask_view(view: Callable[..., Any], request: HttpRequest) -> HttpResponse:
    """The wrapped view's own answer. Runs in the Flask request of `request`."""
    replay_body(request)
    app = flask.current_app
    try:
        returned = app.ensure_sync(view)(**(flask.request.view_args or {}))
    except Exception as error:  # the view's errors are for the host's own handlers; what they let pass is raised again
        returned = app.handle_user_exception(error)
    response = flask.make_response(returned)
    headers = [*response.headers.items(), SERVED_BY_ORIGINAL]
    return HttpResponse(response.status_code, headers, response.get_data())


def _guarded(view: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        request = flask.request
        headers = {name.lower(): value for name, value in request.headers.items()}
        refusal = guard(request.method, request.path, headers, request.remote_addr or "")
        if refusal is None:
            return view(*args, **kwargs)
        return to_flask(refusal) if isinstance(refusal, HttpResponse) else refusal

    return guarded


def _endpoint_of(app: flask.Flask) -> str:
    for rule in app.url_map.iter_rules():
        if rule.rule == LEGACY_PATH and "POST" in (rule.methods or ()):
            return str(rule.endpoint)
    raise ConfigError(f"the application has no view for POST {LEGACY_PATH}; register it before enhancing it")


def _decoration_of(view: object) -> str:
    """How it shows that something is wrapped around the view; empty when nothing does."""
    if not inspect.isfunction(view):
        return f"it is a {type(view).__name__}, not a function"
    if hasattr(view, "__wrapped__"):
        return "it has __wrapped__"
    if hasattr(view, "view_class"):
        return "it is made by View.as_view, which may carry decorators"
    takes_anything = view.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    if takes_anything and any(_holds_callable(cell) for cell in view.__closure__ or ()):
        return "it takes any arguments and calls another function"
    if view.__name__ != view.__code__.co_name:
        return "it goes by another function's name"
    return ""


def _holds_callable(cell: Any) -> bool:
    try:
        return callable(cell.cell_contents)
    except ValueError:  # an empty cell
        return False
