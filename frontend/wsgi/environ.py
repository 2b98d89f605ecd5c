"""A WSGI environ out of an ASGI scope: PEP 3333, with the additions that applications under gunicorn know.

Header names with an underscore are dropped, as gunicorn does: `X_Forwarded_For` would come out as the same variable as
`X-Forwarded-For`, past every proxy that sets only the latter. The rest of the rules is in `request_head`.
"""

from __future__ import annotations

import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any, BinaryIO

from frontend.server.request_head import headers_of_fields
from frontend.server.trusted_proxies import plain_address
from frontend.wsgi.flask_head import RESOLVED

ARRIVAL = "nightscan.arrival_ns"  # when the headers were there, by engine.clock: long before a view, after a slow body

_NO_PREFIX = {"CONTENT_TYPE", "CONTENT_LENGTH"}


def build_environ(scope: dict[str, Any], stream: BinaryIO, connection: object | None) -> dict[str, Any]:
    """`connection`: the client's socket, for applications that look whether their client is still there."""
    raw_path = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"].decode("latin-1")
    server_host, server_port = scope.get("server") or ("localhost", None)
    client_host, client_port = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": urllib.parse.unquote_to_bytes(raw_path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": raw_path.decode("latin-1") + (f"?{query}" if query else ""),
        "SERVER_NAME": server_host,
        "SERVER_PORT": str(server_port or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": plain_address(client_host),  # our server has looked already at what trusted proxies say
        "REMOTE_PORT": str(client_port),
        RESOLVED: True,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": stream,
        "wsgi.input_terminated": True,  # a body without Content-Length ends where the stream ends
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update(_header_variables(scope["headers"]))
    if connection is not None:
        environ["gunicorn.socket"] = connection
    return environ


def _header_variables(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers_of_fields(headers).items():
        variable = name.upper().replace("-", "_")
        found[variable if variable in _NO_PREFIX else f"HTTP_{variable}"] = value
    return found
