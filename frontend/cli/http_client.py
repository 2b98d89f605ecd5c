"""The command line's own HTTP client: one recording to a running server."""

from __future__ import annotations

import json
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from engine.config import Settings
from engine.errors import BrokenError, ConfigError, NotReady
from frontend.server.addresses import url_of

TIMEOUT_S = 300.0

_OPENER = build_opener(ProxyHandler({}))  # what proxies there are for the world is nothing to an engine of ours


def own_url(settings: Settings) -> str:
    """Where the server of these settings listens, seen from this machine."""
    return url_of(settings.bind_host, settings.port)


def post_file(base_url: str, path: str, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The optimized route's answer. Raises NotReady when nobody listens, BrokenError with the server's own words."""
    return post_audio(base_url, Path(path).read_bytes(), timeout_s=timeout_s)


def post_audio(base_url: str, audio: bytes, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """As `post_file`, for the bytes of a recording."""
    try:
        request = Request(f"{base_url.rstrip('/')}/api/optimized/predict", data=audio, method="POST")
    except ValueError as error:
        raise ConfigError(f"{base_url}: no address; one is http://127.0.0.1:8001") from error
    request.add_header("Content-Type", "application/octet-stream")
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except HTTPError as error:
        with error:
            raise BrokenError(f"the server answered {error.code}: {_told(error.read())}") from error
    except (URLError, OSError, HTTPException) as error:
        raise NotReady(f"no answer from {base_url}: {_why(error)}; start a server: nightscan serve") from error


def get_json(url: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
    """An object that a server tells. Raises NotReady, BrokenError."""
    try:
        with _OPENER.open(Request(url), timeout=timeout_s) as response:
            found: dict[str, Any] = json.load(response)
            return found
    except HTTPError as error:
        with error:
            raise BrokenError(f"{url} answered {error.code}: {_told(error.read())}") from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise NotReady(f"no answer from {url}: {_why(error)}") from error


def status_of(url: str, token: str, *, timeout_s: float) -> int:
    """With which status a page is answered. Raises NotReady when nobody listens."""
    request = Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return int(error.code)
    except (URLError, OSError, HTTPException) as error:
        raise NotReady(f"no answer from {url}: {_why(error)}") from error


def _why(error: Exception) -> str:
    return str(error.reason if isinstance(error, URLError) else error)


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
