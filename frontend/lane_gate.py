"""Which requests the fast lane may answer: the gate that every request passes, and the guard that a host may set.

A route is open only while the application itself would send it to a view of ours with nothing wrapped around it; that
is looked up again for every request, since a host may wrap its views at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response

from engine.config import Settings
from engine.errors import ConfigError, InternalError
from frontend.context import RouteContext
from frontend.errors import optimized_error
from frontend.http_message import HttpResponse
from frontend.lane_guard import Seal, handler_of_view, seal_of
from frontend.routes.table import Handler, RouteTable
from frontend.views import view_of

# Gets method, path, headers (lower-case names) and client address before a byte of the body is read. Returns None to
# let the request pass, or else a response: `HttpResponse`, or anything that werkzeug knows as one.
Guard = Callable[[str, str, Mapping[str, str], str], Any]

_LOG = logging.getLogger(__name__)


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
        """What the host's guard says; None: pass. A guard that fails lets nobody pass."""
        if self._guard is None:
            return None
        try:
            verdict = self._guard(method, path, headers, address)
            return None if verdict is None else _as_response(verdict)
        except HTTPException as refused:  # `flask.abort` inside a guard
            return _as_response(refused.get_response())
        except Exception as error:  # the guard is the host's code
            _LOG.error("the guard of the fast lane failed", exc_info=error)
            return optimized_error(InternalError(), headers.get("x-request-id", ""))


def gate_of(app: flask.Flask, *, enabled: bool | None, guard: Guard | None, settings: Settings) -> LaneGate:
    """The gate for `app`. `enabled` None: open with a guard, or for an application that is sealed and whole.

    Raises ConfigError when there is a word to open the lane and `app` is no Flask application.
    """
    if not isinstance(app, flask.Flask):
        raise ConfigError(f"fast_lane needs a Flask application, not a {type(app).__name__}")
    seal = None if enabled or guard is not None else seal_of(app)
    opened = enabled is not False and (enabled or guard is not None or seal is not None)
    routes = _open_routes(app, settings) if opened else {}
    return LaneGate(app, routes, seal=seal, guard=guard, settings=settings)


def _open_routes(app: flask.Flask, settings: Settings) -> dict[tuple[str, str], OpenRoute]:
    found: dict[tuple[str, str], OpenRoute] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        handler = handler_of_view(view, view_of)
        if handler is None:
            continue
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


def _as_response(verdict: Any) -> HttpResponse:
    """Raises InternalError for what is no response, so that the request is refused all the same."""
    if isinstance(verdict, HttpResponse):
        return verdict
    if isinstance(verdict, Response):
        return HttpResponse(verdict.status_code, list(verdict.headers.items()), verdict.get_data())
    raise InternalError(f"a guard must return None or a response, not a {type(verdict).__name__}")
