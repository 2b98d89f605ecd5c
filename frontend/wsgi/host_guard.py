"""A guard: a host's own word on who may use the engine's routes, asked before a byte of the body is read.

It is asked on both ways in. If it were asked on the fast lane alone, whatever takes a request past the lane (another
method, a switch that closes it) would take it past the guard.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from engine.errors import InternalError
from frontend.errors import optimized_error
from frontend.server.message import HttpResponse
from frontend.wsgi.flask_head import address_of_flask, headers_of_flask

# Gets method, path, headers (lower-case names) and client address. Returns None to let the request pass, or else a
# response: `HttpResponse`, or anything that werkzeug knows as one.
Guard = Callable[[str, str, Mapping[str, str], str], Any]

_LOG = logging.getLogger(__name__)


def refusal_of(
    guard: Guard, method: str, path: str, headers: Mapping[str, str], address: str
) -> HttpResponse | None:
    """What `guard` says; None: pass. A guard that fails lets nobody pass."""
    try:
        verdict = guard(method, path, headers, address)
        return None if verdict is None else _as_response(verdict)
    except HTTPException as refused:  # `flask.abort` inside a guard
        return _as_response(refused.get_response())
    except Exception as error:  # the guard is the host's code
        _LOG.error("the guard of the engine's routes failed", exc_info=error)
        return optimized_error(InternalError(), headers.get("x-request-id", ""))


def guarded_view(view: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """`view` behind `guard`. What the guard raises goes to the host's own error handlers."""

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        request = flask.request
        verdict = guard(request.method, request.path, headers_of_flask(request), address_of_flask(request))
        if verdict is None:
            return view(*args, **kwargs)
        if isinstance(verdict, flask.Response):
            return verdict
        refusal = _as_response(verdict)
        return flask.Response(refusal.body, refusal.status, refusal.headers)

    return guarded


def _as_response(verdict: Any) -> HttpResponse:
    """Raises InternalError for what is no response, so that the request is refused all the same."""
    if isinstance(verdict, HttpResponse):
        return verdict
    if isinstance(verdict, Response):
        return HttpResponse(verdict.status_code, list(verdict.headers.items()), verdict.get_data())
    raise InternalError(f"a guard must return None or a response, not a {type(verdict).__name__}")
