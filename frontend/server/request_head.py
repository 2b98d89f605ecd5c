"""What both ways in make of a request's head, so that one request means the same on either.

Headers are as WSGI servers hand them on, since most of the requests that matter to a host come through one: names with
an underscore are dropped (they would pass for the hyphenated ones), a field sent twice is one list joined by commas.
Two content types are refused by our server and by gunicorn; of those that another one lets through the last counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import flask

from frontend.server.trusted_proxies import plain_address, trusted_here

_SPACE = " \t"  # around a value, where it means nothing
_LAST_COUNTS = ("content-type", "content-length")
# Where the address is the caller's already: by our own bridge, by werkzeug's middleware for proxies.
RESOLVED = "nightscan.address_resolved"
_PROXY_FIX = "werkzeug.proxy_fix.orig"


def headers_of_scope(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case name -> value, of an ASGI scope's headers."""
    found = {name.decode("latin-1"): value.decode("latin-1").strip(_SPACE) for name, value in fields}
    if len(found) != len(fields) or "_" in "".join(found) or "" in found.values():
        return _merged(fields)
    return found


def headers_of_flask(request: flask.Request) -> dict[str, str]:
    """Lower-case name -> value."""
    return {name.lower(): value for name, value in request.headers.items()}


def address_of_scope(scope: dict[str, Any]) -> str:
    """The caller's address; our server has looked already at what trusted proxies say. Empty for a Unix socket."""
    client = scope["client"]
    return plain_address(client[0]) if client else ""


def address_of_flask(request: flask.Request) -> str:
    """The caller's address: the host's word where it has one of its own, else by what trusted proxies say."""
    told = request.remote_addr or ""
    environ = request.environ
    if RESOLVED in environ or _PROXY_FIX in environ or told != environ.get("REMOTE_ADDR", ""):
        return plain_address(told)
    return trusted_here().caller(told, environ.get("HTTP_X_FORWARDED_FOR", ""))


def _merged(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(_SPACE)
        if "_" in name:
            continue
        if name in found and name not in _LAST_COUNTS:
            value = f"{found[name]}{'; ' if name == 'cookie' else ','}{value}"
        found[name] = value
    return {name: value for name, value in found.items() if value or name not in _LAST_COUNTS}
