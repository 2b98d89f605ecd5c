"""The head of a request as Flask has it, in the form that our own server gives it: lower-case names, one address."""

from __future__ import annotations

import flask

from frontend.server.trusted_proxies import plain_address, trusted_here

# Where the address is the caller's already: by our own bridge, by werkzeug's middleware for proxies.
RESOLVED = "nightscan.address_resolved"
_PROXY_FIX = "werkzeug.proxy_fix.orig"


def headers_of_flask(request: flask.Request) -> dict[str, str]:
    """Lower-case name -> value."""
    return {name.lower(): value for name, value in request.headers.items()}


def address_of_flask(request: flask.Request) -> str:
    """The caller's address: the host's word where it has one of its own, else by what trusted proxies say."""
    told = request.remote_addr or ""
    environ = request.environ
    if RESOLVED in environ or _PROXY_FIX in environ or told != environ.get("REMOTE_ADDR", ""):
        return plain_address(told)
    return trusted_here().caller(told, environ.get("HTTP_X_FORWARDED_FOR", ""))
