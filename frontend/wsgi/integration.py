"""Putting the engine into somebody else's Flask application, behind all of its own checks.

Nothing here goes round a login, a limiter or a `before_request` of the host: views are registered on the host's own
application, and a view is only replaced when nothing is wrapped around it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import flask
from flask.sansio.scaffold import Scaffold

from engine.config import Settings, load_settings
from engine.errors import ConfigError
from frontend.predict.context import RouteContext
from frontend.predict.fallback import OriginalApi
from frontend.routes.table import optimized_routes
from frontend.wsgi.enhanced_view import enhanced_view, is_enhanced
from frontend.wsgi.host_guard import Guard, guarded_view
from frontend.wsgi.host_settings import settings_of
from frontend.wsgi.views import handler_of_view, methods_by_path, view_of

LEGACY_PATH = "/api/predict"
OPTIMIZED_PATH = "/api/optimized/predict"
_MOST_TOLD = 10  # paths in an error's text

_REFUSAL = """\
the view {name!r} of {path} is decorated ({why}); replacing it would skip what the decorator checks. Either put
@optimized_prediction_endpoint innermost, under the other decorators, in place of enhance_existing_api_server:

    @app.post("{path}")
    @login_required                       # your decorators stay outside
    @optimized_prediction_endpoint(fallback_to_original=True)
    def {name}(): ...

or give guard=callable(method, path, headers, address) that does the same checks, or trust_view=True when the
decorator checks nothing."""

# Where the optimized routes are already, and by which settings: prefix -> settings.
_registered: WeakKeyDictionary[Scaffold, dict[str, Settings]] = WeakKeyDictionary()


def register_optimized_endpoints(
    app: flask.Flask | flask.Blueprint, settings: Settings | None = None, *, url_prefix: str = ""
) -> None:
    """Adds `<url_prefix>/api/optimized/predict`, `/health` and `/stats` to an application, or to a blueprint of one.

    `settings`: by default those of environment, file and `app.config` (a blueprint has none). Doing the same twice
    changes nothing. Raises ConfigError, also after the first request.
    """
    prefix = "/" + url_prefix.strip("/") if url_prefix.strip("/") else ""
    known = _registered.setdefault(app, {})
    if prefix in known or (isinstance(app, flask.Flask) and _is_ours(app, prefix + OPTIMIZED_PATH)):
        if settings is not None and settings != known.get(prefix, settings):
            raise ConfigError(f"the optimized endpoints are registered at {prefix or '/'} already, by other settings")
        return
    found = settings_of(app, settings) if isinstance(app, flask.Flask) else settings or load_settings()
    name = "_".join(["nightscan_optimized", *prefix.replace(".", "_").strip("/").split("/")]).rstrip("_")
    try:
        app.register_blueprint(_optimized_blueprint(name, found), url_prefix=prefix or None)
    except AssertionError as error:  # Flask's word for a table that must not change any more
        raise ConfigError(
            f"register_optimized_endpoints came too late: register before {app.name!r} is served or tested, "
            "in the function or module that makes it"
        ) from error
    known[prefix] = found


def enhance_existing_api_server(
    app: flask.Flask,
    guard: Guard | None = None,
    trust_view: bool = False,
    settings: Settings | None = None,
    *,
    path: str | Sequence[str] = LEGACY_PATH,
) -> None:
    """Lets the engine answer the application's own views of `path`, in the original format; they become the fallback.

    `path`: one or several, as they stand in the application's rules; only POST is answered. A view that the engine
    answers already stays as it is. Raises ConfigError when there is no such view, and for a decorated view unless
    `guard` or `trust_view` is given.
    """
    found = settings_of(app, settings)
    for each in [path] if isinstance(path, str) else path:
        for endpoint in _endpoints_of(app, each):
            view = app.view_functions[endpoint]
            if is_enhanced(view) or handler_of_view(view) is not None:
                continue
            why = _decoration_of(view)
            if why and guard is None and not trust_view:
                name = getattr(view, "__name__", endpoint)
                raise ConfigError(_REFUSAL.format(name=name, path=each, why=why))
            enhanced = enhanced_view(view, found, fallback=True)
            app.view_functions[endpoint] = guarded_view(enhanced, guard) if guard else enhanced


def optimized_prediction_endpoint(
    fallback_to_original: bool = True, settings: Settings | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator for a prediction view: the engine answers in the original format, the view while it cannot.

    Must be the innermost decorator, so that the others go on checking. `fallback_to_original=False`: 503 instead.
    Without `settings` those of the application count that serves the view. Raises ConfigError for wrong ones.
    """
    if settings is None:
        load_settings()  # what is wrong in the environment is to be known at the start

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        return enhanced_view(view, settings, fallback=fallback_to_original)

    return decorate


def original_of(settings: Settings) -> OriginalApi | None:
    """The original API over HTTP, when the settings name one and allow it."""
    wanted = settings.fallback_to_original and settings.original_api_url
    return OriginalApi(settings) if wanted else None


def _optimized_blueprint(name: str, settings: Settings) -> flask.Blueprint:
    context = RouteContext(settings, original_of(settings))
    routes = optimized_routes(context)
    blueprint = flask.Blueprint(name, __name__)
    for path, methods in methods_by_path(routes).items():
        for method in methods:
            view = view_of(routes[method, path], settings, has_original=context.original is not None)
            blueprint.add_url_rule(path, endpoint=path.rpartition("/")[2], view_func=view, methods=[method])
    return blueprint


def _endpoints_of(app: flask.Flask, path: str) -> list[str]:
    found = [endpoint for rule, endpoint in _post_rules(app) if rule == path]
    if not found:
        known = sorted({rule for rule, _ in _post_rules(app)})[:_MOST_TOLD]
        told = f"it has views for POST {', '.join(known)}" if known else "it has no view for any POST"
        raise ConfigError(f"the application has no view for POST {path}; register it before enhancing it ({told})")
    return list(dict.fromkeys(found))


def _is_ours(app: flask.Flask, path: str) -> bool:
    """Whether one of our own views answers `path` already, as in what `create_app` makes."""
    found = (app.view_functions.get(endpoint) for rule, endpoint in _post_rules(app) if rule == path)
    return any(handler_of_view(view) is not None for view in found)


def _post_rules(app: flask.Flask) -> Iterator[tuple[str, str]]:
    return ((rule.rule, rule.endpoint) for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ()))


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
