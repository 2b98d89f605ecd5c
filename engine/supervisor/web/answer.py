"""What the status server answers: status, headers, body, and how they look on a connection."""

from __future__ import annotations

import email.utils
import http
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import EngineError
from engine.supervisor.web.refusal import StatusRefusal, status_of

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

# Of every answer. What the page may do is loaded from here alone, and nobody else may show it in a frame of theirs.
_ALWAYS = (
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Cache-Control: no-store\r\n"
)


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """One answer. `body` of None: it has no end, and the connection is its sender's from there on."""

    status: int
    body: bytes | None = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self, *, head_only: bool, keep_alive: bool) -> bytes:
        """Its bytes. `head_only`: without the body, as HEAD asks for."""
        kept = keep_alive and self.body is not None
        lines = [
            f"HTTP/1.1 {self.status} {_phrase(self.status)}\r\n",
            f"Date: {email.utils.formatdate(usegmt=True)}\r\n",
            f"Content-Type: {self.content_type}\r\n",
            f"Content-Length: {len(self.body)}\r\n" if self.body is not None else "",
            *(f"{name}: {value}\r\n" for name, value in self.headers.items()),
            _ALWAYS,
            f"Connection: {'keep-alive' if kept else 'close'}\r\n\r\n",
        ]
        head = "".join(lines).encode("latin-1", "replace")
        return head if head_only or self.body is None else head + self.body


def json_answer(document: Mapping[str, Any], status: int = 200, **headers: str) -> StatusAnswer:
    """`document` as it is. Raises ValueError for what JSON has no number for."""
    body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    return StatusAnswer(status, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def error_answer(error: EngineError | StatusRefusal) -> StatusAnswer:
    """What a caller is told: one line, and a code for machines."""
    headers = dict(error.headers) if isinstance(error, StatusRefusal) else {}
    status = status_of(error)
    if status == 503:
        headers.setdefault("Retry-After", "1")
    return json_answer({"error": last_line(str(error)), "code": error.code}, status, **headers)


def last_line(text: str) -> str:
    """Without the traceback above it, which is in the log."""
    return text.strip().rpartition("\n")[2]


def _phrase(status: int) -> str:
    return http.HTTPStatus(status).phrase
