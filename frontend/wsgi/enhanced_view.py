"""A prediction view of the host's, answered by the engine in the original format; the view itself while it cannot.

The view's own answer is handed on as it is, streams and cookies and all, and what it raises is raised again where
Flask looks for it: its errors are for the host's handlers, signals and teardown functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import flask
from werkzeug.exceptions import HTTPException

from engine.config import Settings
from frontend.predict.context import RouteContext
from frontend.predict.fallback import SERVED_BY_ORIGINAL
from frontend.predict.predict_log import PredictLog
from frontend.predict.prediction import PredictionRoute
from frontend.routes.table import legacy_route
from frontend.server.message import HttpRequest, HttpResponse
from frontend.wsgi.host_settings import settings_of
from frontend.wsgi.views import answer, client_for_view, replay_body, request_from_flask, to_flask

View = Callable[..., Any]

_ASKED = "nightscan.asked_view"  # in the environ of a request, until it is answered
_MARK = "answered_by_nightscan"  # a view's attribute; decorators hand it on with the view's name


def enhanced_view(view: View, settings: Settings | None, *, fallback: bool) -> View:
    """`settings` None: those of the application that serves the view, read at its first request."""
    known: WeakKeyDictionary[flask.Flask, _Route] = WeakKeyDictionary()

    @functools.wraps(view)
    def enhanced(*args: Any, **kwargs: Any) -> Any:
        asked = _AskedView(view, args, kwargs)
        if flask.request.method != "POST":  # a form to fill in, perhaps: the host's own page
            return asked.call()
        app: flask.Flask = flask.current_app._get_current_object()  # type: ignore[attr-defined]
        route = known.get(app)
        if route is None:
            route = known[app] = _Route(settings_of(app, settings), fallback=fallback)
        return route.answer(asked)

    setattr(enhanced, _MARK, True)
    return enhanced


def is_enhanced(view: object) -> bool:
    """Whether the engine answers for this view already, perhaps behind decorators."""
    return getattr(view, _MARK, False) is True


class _Route:
    """The handler of enhanced views in one application."""

    def __init__(self, settings: Settings, *, fallback: bool) -> None:
        original = _ViewToAsk if fallback and settings.fallback_to_original else None
        context = RouteContext(settings, original, predict_log=PredictLog(settings.predict_log_file))
        self._settings = settings
        self._has_original = original is not None
        self._handler: PredictionRoute = legacy_route(context)

    def answer(self, asked: _AskedView) -> Any:
        request = request_from_flask(self._settings.max_upload_bytes)
        client = client_for_view(self._settings, has_fallback=self._has_original)
        environ = flask.request.environ
        environ[_ASKED] = asked
        try:
            made = answer(self._handler, request, client)
        finally:
            del environ[_ASKED]
        return asked.handed_on(made) if asked.was_called else to_flask(made)


class _AskedView:
    """The host's view with the arguments of one request."""

    def __init__(self, view: View, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._view = view
        self._args = args
        self._kwargs = kwargs
        self.was_called = False
        self._response: flask.Response | None = None
        self._error: Exception | None = None

    def call(self) -> Any:
        return flask.current_app.ensure_sync(self._view)(*self._args, **self._kwargs)

    def ask(self) -> int:
        """Keeps what the view returns or raises; its status."""
        self.was_called = True
        try:
            self._response = flask.make_response(self.call())
        except Exception as error:  # the view is the host's code, and so are the handlers of its errors
            self._error = error
            return error.code or 500 if isinstance(error, HTTPException) else 500
        return self._response.status_code

    def handed_on(self, made: HttpResponse) -> flask.Response:
        """The view's answer, or its error, with what every answer of ours carries."""

        def complete(response: flask.Response) -> flask.Response:
            for name, value in made.headers:
                response.headers.setdefault(name, value)
            return response

        error, self._error = self._error, None
        if error is not None:
            flask.after_this_request(complete)
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: the two would keep the request's body until a collection
        assert self._response is not None
        return complete(self._response)


class _ViewToAsk:
    """An `Inquiry` with the host's view. It is called where its Flask request is, for as long as it takes."""

    is_done = False
    outcome = "answered"

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        callback()

    def response(self) -> HttpResponse:
        """Stands for the view's answer while ours is worked out."""
        replay_body(self._request)
        asked: _AskedView = flask.request.environ[_ASKED]
        return HttpResponse(asked.ask(), [SERVED_BY_ORIGINAL], b"")

    def cancel(self) -> None:
        """Nothing is held."""
