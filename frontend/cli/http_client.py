"""The command line's own HTTP client: one question to a running server."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

from engine.clock import MS_PER_S
from engine.config import Settings
from engine.errors import BrokenError, NotReady, ProtocolError
from engine.stores.cutting import cut_after
from frontend.cli.load_connection import CONNECT_S
from frontend.cli.target import place_of
from frontend.server.addresses import url_of

MOST_BYTES = 64 << 20  # of an answer: four times what the server makes

_MARGIN_S = 10.0  # arbitrary: for the way there and back
_PIECE_BYTES = 1 << 16
_FIRST_OTHER = 300


def own_url(settings: Settings) -> str:
    """Where the server of these settings listens, seen from this machine."""
    return url_of(settings.bind_host, settings.port)


def answer_within_s(settings: Settings) -> float:
    """How long a server of these settings may take for a request that has come in whole, and a margin."""
    return settings.request_timeout_ms / MS_PER_S + _MARGIN_S


def post_audio(base_url: str, audio: bytes, *, timeout_s: float) -> dict[str, Any]:
    """The optimized route's answer, which may take `timeout_s` once all is sent. Raises ConfigError for what is no
    address, NotReady when nobody listens or answers in time, BrokenError with the server's own words."""
    place_of(base_url, schemes=("http", "https"))
    url = f"{base_url.rstrip('/')}/api/optimized/predict"
    return _asked(url, audio, timeout_s, "; start a server: nightscan serve")


def get_json(url: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
    """An object that a server tells. Raises NotReady, BrokenError."""
    return _asked(url, None, timeout_s, "")


def get_json_at(path: str, route: str, *, owner_uid: int, timeout_s: float) -> dict[str, Any]:
    """The same of a server that listens at a Unix socket, as that user or root. ProtocolError for any other."""
    connection = HTTPConnection("localhost")
    with closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(timeout_s)
            connection.sock.connect(path)
            _check_peer(connection.sock, path, owner_uid)
            _, body = _exchanged(connection, route, None, timeout_s)
        except (OSError, HTTPException) as error:
            raise NotReady(f"no answer from {path}: {_why(error)}") from error
    return _object(body, path)


def _asked(url: str, audio: bytes | None, timeout_s: float, advice: str) -> dict[str, Any]:
    """Straight from here: what proxies there are for the world is nothing to an engine of ours."""
    parts = place_of(url, schemes=("http", "https"))
    place = f"{parts.scheme}://{parts.netloc}"
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=CONNECT_S)
    with closing(connection):
        try:
            connection.connect()
            connection.sock.settimeout(timeout_s)  # of each piece that is sent
            status, body = _exchanged(connection, parts.path, audio, timeout_s)
        except TimeoutError as error:
            raise NotReady(f"no answer from {place} within {timeout_s:g} s; is it a server of ours?") from error
        except (OSError, HTTPException) as error:
            raise NotReady(f"no answer from {place}: {_why(error)}{advice}") from error
    if status >= _FIRST_OTHER:
        raise BrokenError(f"{place} answered {status}: {_told(body)}")
    return _object(body, place)


def _exchanged(connection: HTTPConnection, target: str, audio: bytes | None, timeout_s: float) -> tuple[int, bytes]:
    """Status and body. Raises OSError, HTTPException, and TimeoutError `timeout_s` after the question has been sent."""
    with suppress(BrokenPipeError):  # who refuses a request without reading it has answered nevertheless
        if audio is None:
            connection.request("GET", target)
        else:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(audio))}
            connection.request("POST", target, io.BytesIO(audio), headers)  # piece by piece, each with its own time
    with cut_after(connection.sock, timeout_s):
        response = connection.getresponse()
        return response.status, _body(response)


def _check_peer(connected: socket.socket, path: str, owner_uid: int) -> None:
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    if uid not in (owner_uid, 0):
        raise ProtocolError(
            f"{path} is served by uid {uid}, and neither by uid {owner_uid} nor by root: it is not believed;"
            f" see ls -l {os.path.dirname(path)}"
        )


def _body(response: HTTPResponse) -> bytes:
    """Raises BrokenError for one without an end, ConnectionResetError for one that breaks off."""
    received = bytearray()
    while piece := response.read1(_PIECE_BYTES):
        received += piece
        if len(received) > MOST_BYTES:
            raise BrokenError(f"an answer of over {MOST_BYTES >> 20} MB; is it a server of ours?")
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
    return str(getattr(error, "strerror", None) or error)


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
