"""The command line's own HTTP client: one question to a running server."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from engine.clock import Deadline
from engine.config import Settings
from engine.errors import BrokenError, NotReady
from frontend.cli.target import place_of
from frontend.server.addresses import url_of

TIMEOUT_S = 300.0
MOST_BYTES = 64 << 20  # of an answer: four times what the server makes

_PIECE_BYTES = 1 << 16
_OPENER = build_opener(ProxyHandler({}))  # what proxies there are for the world is nothing to an engine of ours


def own_url(settings: Settings) -> str:
    """Where the server of these settings listens, seen from this machine."""
    return url_of(settings.bind_host, settings.port)


def post_audio(base_url: str, audio: bytes, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The optimized route's answer. Raises ConfigError for what is no address, NotReady when nobody listens,
    BrokenError with the server's own words."""
    place_of(base_url, schemes=("http", "https"))
    request = Request(f"{base_url.rstrip('/')}/api/optimized/predict", data=audio, method="POST")
    request.add_header("Content-Type", "application/octet-stream")
    return _asked(request, timeout_s, "; start a server: nightscan serve")


def get_json(url: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
    """An object that a server tells. Raises NotReady, BrokenError."""
    return _asked(Request(url), timeout_s, "")


def get_json_at(path: str, route: str, *, timeout_s: float) -> dict[str, Any]:
    """The same of a server that listens at a Unix socket."""
    connection = HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(timeout_s)
        connection.sock.connect(path)
        connection.request("GET", route)
        return _object(_body(connection.getresponse(), Deadline.after_s(timeout_s)), path)
    except (OSError, HTTPException) as error:
        raise NotReady(f"no answer from {path}: {_why(error)}") from error
    finally:
        connection.close()


def _asked(request: Request, timeout_s: float, advice: str) -> dict[str, Any]:
    deadline = Deadline.after_s(timeout_s)
    place = f"{request.type}://{request.host}"
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            return _object(_body(response, deadline), place)
    except HTTPError as error:
        with error:
            raise BrokenError(f"{place} answered {error.code}: {_told(error.read(MOST_BYTES))}") from error
    except (URLError, OSError, HTTPException) as error:
        raise NotReady(f"no answer from {place}: {_why(error)}{advice}") from error


def _body(response: HTTPResponse, deadline: Deadline) -> bytes:
    """Raises BrokenError for one without an end, TimeoutError for one that does not come to it."""
    received = bytearray()
    while piece := response.read1(_PIECE_BYTES):
        received += piece
        if len(received) > MOST_BYTES:
            raise BrokenError(f"an answer of over {MOST_BYTES >> 20} MB; is it a server of ours?")
        if deadline.expired:
            raise TimeoutError("it does not come to an end")
    if response.length:
        raise ConnectionResetError("it breaks off")
    return bytes(received)


def _object(body: bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    raise BrokenError(f"{place} answered nothing that could be read; is it a server of ours?")


def _why(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    return str(getattr(cause, "strerror", None) or cause)


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
