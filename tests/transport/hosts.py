"""Every way in which an application may check its callers. Each refuses with 401 whoever lacks the header X-Pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import flask
from flask.sessions import SecureCookieSessionInterface
from werkzeug.exceptions import Unauthorized

PASS = "X-Pass"
Guarding = Callable[[flask.Flask], AbstractContextManager[None]]


def check(*_: Any, **__: Any) -> None:
    if PASS not in flask.request.headers:
        raise Unauthorized()


def before_request(app: flask.Flask) -> AbstractContextManager[None]:
    app.before_request_funcs.setdefault(None, []).append(check)
    return nullcontext()


def before_request_of_the_blueprint(app: flask.Flask) -> AbstractContextManager[None]:
    for name in app.blueprints:
        app.before_request_funcs.setdefault(name, []).append(check)
    return nullcontext()


def url_value_preprocessor(app: flask.Flask) -> AbstractContextManager[None]:
    app.url_value_preprocessors.setdefault(None, []).append(check)
    return nullcontext()


@contextmanager
def request_started_signal(app: flask.Flask) -> Iterator[None]:
    with flask.request_started.connected_to(check, app):
        yield


@contextmanager
def signal_of_any_sender(app: flask.Flask) -> Iterator[None]:
    with flask.request_started.connected_to(check):
        yield


def replaced_tables(app: flask.Flask) -> AbstractContextManager[None]:
    app.before_request_funcs = {None: [check]}
    return nullcontext()


def overridden_method(name: str) -> Guarding:
    def override(app: flask.Flask) -> AbstractContextManager[None]:
        original = getattr(app, name)

        def checked(*args: Any, **kwargs: Any) -> Any:
            if PASS not in flask.request.headers:
                return flask.Response("no", 401)
            return original(*args, **kwargs)

        setattr(app, name, checked)
        return nullcontext()

    return override


def overridden_in_a_subclass(app: flask.Flask) -> AbstractContextManager[None]:
    class Checking(flask.Flask):
        def dispatch_request(self) -> Any:
            check()
            return super().dispatch_request()

    app.__class__ = Checking
    return nullcontext()


@contextmanager
def replaced_on_flask_itself(app: flask.Flask) -> Iterator[None]:
    original = flask.Flask.dispatch_request

    def checked(self: flask.Flask) -> Any:
        check()
        return original(self)

    flask.Flask.dispatch_request = checked  # type: ignore[method-assign]
    try:
        yield
    finally:
        flask.Flask.dispatch_request = original  # type: ignore[method-assign]


def wsgi_middleware(app: flask.Flask) -> AbstractContextManager[None]:
    inner = app.wsgi_app

    def outer(environ: dict[str, Any], start_response: Any) -> Any:
        if "HTTP_X_PASS" not in environ:
            start_response("401 Unauthorized", [("Content-Length", "0")])
            return []
        return inner(environ, start_response)

    app.wsgi_app = outer  # type: ignore[method-assign]
    return nullcontext()


class _CheckingSessions(SecureCookieSessionInterface):
    def open_session(self, app: flask.Flask, request: flask.Request) -> Any:
        if PASS not in request.headers:
            request.routing_exception = Unauthorized()
        return super().open_session(app, request) or self.make_null_session(app)


def session_interface(app: flask.Flask) -> AbstractContextManager[None]:
    app.session_interface = _CheckingSessions()
    return nullcontext()


class _CheckingRequest(flask.Request):
    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        if "HTTP_X_PASS" not in environ:
            self.routing_exception = Unauthorized()


def request_class(app: flask.Flask) -> AbstractContextManager[None]:
    app.request_class = _CheckingRequest
    return nullcontext()


def wrapped_views(app: flask.Flask) -> AbstractContextManager[None]:
    for endpoint, view in app.view_functions.items():
        app.view_functions[endpoint] = _checked(view)
    return nullcontext()


def _checked(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check()
        return view(*args, **kwargs)

    return checked


KINDS: dict[str, Guarding] = {
    "before_request": before_request,
    "before_request of the blueprint": before_request_of_the_blueprint,
    "replaced tables": replaced_tables,
    "url_value_preprocessor": url_value_preprocessor,
    "request_started signal": request_started_signal,
    "request_started signal of any sender": signal_of_any_sender,
    "preprocess_request": overridden_method("preprocess_request"),
    "dispatch_request": overridden_method("dispatch_request"),
    "full_dispatch_request": overridden_method("full_dispatch_request"),
    "subclass": overridden_in_a_subclass,
    "Flask's own class": replaced_on_flask_itself,
    "wsgi_app": wsgi_middleware,
    "session interface": session_interface,
    "request class": request_class,
    "wrapped view_functions": wrapped_views,
}
