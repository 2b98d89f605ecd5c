"""The command line's own HTTP client: one recording to a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from engine.config import Settings
from engine.errors import BrokenError, ConfigError, NotReady

TIMEOUT_S = 300.0


def own_url(settings: Settings) -> str:
    """Where the server of these settings listens, seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.bind_host, settings.bind_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


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
        with urlopen(request, timeout=timeout_s) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except HTTPError as error:
        with error:
            raise BrokenError(f"the server answered {error.code}: {_told(error.read())}") from error
    except (URLError, OSError) as error:
        raise NotReady(f"no answer from {base_url}: {_why(error)}; start a server: nightscan serve") from error


def _why(error: OSError) -> str:
    return str(error.reason if isinstance(error, URLError) else error)


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
