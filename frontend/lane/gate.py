"""Which requests the fast lane may answer: the gate that every request passes, and the guard that a host may set.

A route is open only while the application itself would send it to a view of ours with nothing wrapped around it; that
is looked up again for every request, since a host may wrap its views at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from engine.config import Settings
from engine.errors import ConfigError
from frontend.lane.seal import Seal, seal_of
from frontend.predict.context import RouteContext
from frontend.routes.table import Handler, RouteTable
from frontend.server.message import HttpResponse
from frontend.wsgi.host_guard import Guard, guarded_view, refusal_of
from frontend.wsgi.views import handler_of_view


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """One route that the lane may answer while `endpoint` still leads to `view`."""

    endpoint: str
    view: object
    handler: Handler


class LaneGate:
    """What the lane may answer. `seal` None: the host has opened the lane by its own word."""

    def __init__(
        self, app: flask.Flask, routes: Mapping[tuple[str, str], OpenRoute], *, seal: Seal | None, guard: Guard | None,
        settings: Settings,
    ) -> None:  # fmt: skip
        self.table = RouteTable({key: route.handler for key, route in routes.items()}, RouteContext(settings))
        self._app = app
        self._routes = routes
        self._seal = seal
        self._guard = guard
        self.is_guarded = guard is not None

    @property
    def is_open(self) -> bool:
        """Whether the lane answers anything at all."""
        return bool(self._routes) and (self._seal is None or self._seal.check(self._app))

    def handler(self, method: str, path: str) -> Handler | None:
        """Who answers on the lane; None: the application does."""
        route = self._routes.get((method, path))
        if route is None or self._app.view_functions.get(route.endpoint) is not route.view:
            return None
        if self._seal is not None and not self._seal.holds(self._app):
            return None
        return route.handler

    def refusal(self, method: str, path: str, headers: Mapping[str, str], address: str) -> HttpResponse | None:
        """What the host's guard says; None: pass."""
        return None if self._guard is None else refusal_of(self._guard, method, path, headers, address)

    def guard_views(self) -> None:
        """Puts the guard before views that were registered since; at the start of serving, when there are all."""
        _guard_views(self._app, self._guard)


def gate_of(app: flask.Flask, *, enabled: bool | None, guard: Guard | None, settings: Settings) -> LaneGate:
    """The gate for `app`. `enabled` None: open with a guard, or for an application that is sealed and whole.

    Raises ConfigError for a guard and no views to stand before.
    """
    seal = None if enabled or guard is not None else seal_of(app)
    opened = enabled is not False and (enabled or guard is not None or seal is not None)
    handlers = _handlers_by_endpoint(app)
    if guard is not None and not handlers:
        raise ConfigError(
            "no view of the engine is left for this guard: call register_optimized_endpoints(app) before "
            "fast_lane(app, guard=...), and that once for an application"
        )
    _guard_views(app, guard)
    routes = _open_routes(app, handlers) if opened else {}
    return LaneGate(app, routes, seal=seal, guard=guard, settings=settings)


def _guard_views(app: flask.Flask, guard: Guard | None) -> None:
    """What does not go by the lane meets the guard too: other methods, a closed lane, another server."""
    if guard is not None:
        for endpoint in _handlers_by_endpoint(app):
            app.view_functions[endpoint] = guarded_view(app.view_functions[endpoint], guard)


def _handlers_by_endpoint(app: flask.Flask) -> dict[str, Handler]:
    found = {endpoint: handler_of_view(view) for endpoint, view in app.view_functions.items()}
    return {endpoint: handler for endpoint, handler in found.items() if handler is not None}


def _open_routes(app: flask.Flask, handlers: Mapping[str, Handler]) -> dict[tuple[str, str], OpenRoute]:
    found: dict[tuple[str, str], OpenRoute] = {}
    for rule in app.url_map.iter_rules():
        handler = handlers.get(rule.endpoint)
        if handler is None or rule.host or rule.subdomain:  # the lane looks at no host names
            continue
        view = app.view_functions[rule.endpoint]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if _leads_to(app, method, rule.rule, rule.endpoint):
                found[method, rule.rule] = OpenRoute(rule.endpoint, view, handler)
    return found


def _leads_to(app: flask.Flask, method: str, path: str, endpoint: str) -> bool:
    """Whether the application's own routing takes `path` to `endpoint`: another rule may stand before ours."""
    try:
        found, _ = app.url_map.bind("localhost").match(path, method)
    except (HTTPException, RequestRedirect):
        return False
    return bool(found == endpoint)
