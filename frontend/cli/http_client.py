"""The command line's own HTTP client: one recording to a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from engine.errors import BrokenError, NotReady

TIMEOUT_S = 300.0


def post_file(base_url: str, path: str, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The optimized route's answer. Raises NotReady when nobody listens, BrokenError with the server's own words."""
    return post_audio(base_url, Path(path).read_bytes(), timeout_s=timeout_s)


def post_audio(base_url: str, audio: bytes, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """As `post_file`, for the bytes of a recording."""
    request = Request(f"{base_url.rstrip('/')}/api/optimized/predict", data=audio, method="POST")
    request.add_header("Content-Type", "application/octet-stream")
    try:
        with urlopen(request, timeout=timeout_s) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except HTTPError as error:
        with error:
            raise BrokenError(f"the server answered {error.code}: {_told(error.read())}") from error
    except (URLError, OSError) as error:
        raise NotReady(f"no answer from {base_url}: {error}") from error


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
