"""HTTP/1.1 responses as bytes: status line, fields, and the refusals that need no application.

Invariant: what `head` returns holds exactly the lines it was given. A CR or LF inside a name or value would let an
application's data start a field or a response of its own, so such a head is refused as a whole.
"""

from __future__ import annotations

import http
import json
from collections.abc import Iterable

from engine.errors import InternalError


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def head(status: int, fields: Iterable[tuple[bytes, bytes]], *extra: bytes) -> bytes:
    """Status line, `fields`, then `extra` (complete lines), then the empty line. Raises InternalError."""
    lines = [STATUS_LINES[status]]
    for name, value in fields:
        lines += (name, b": ", value, b"\r\n")
    lines += extra
    made = b"".join(lines)
    expected = 1 + (len(lines) - 1 - len(extra)) // 4 + sum(map(bool, extra))
    if made.count(b"\n") != expected or made.count(b"\r") != expected or b"\0" in made:
        raise InternalError("a response header contains a line break")
    return made + b"\r\n"


def text_head(status: int, fields: Iterable[tuple[str, str]], *extra: bytes) -> bytes:
    """`head` for fields given as text; they must be Latin-1. Raises InternalError."""
    lines = [f"{name}: {value}\r\n" for name, value in fields]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise InternalError("a response header contains a line break")
    try:
        encoded = text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise InternalError("a response header is not Latin-1") from error
    return b"".join((STATUS_LINES[status], encoded, *extra, b"\r\n"))


def refusal(status: int, text: str, code: str, *, retry_after_s: int | None = None) -> bytes:
    """A complete response in the error form of the API, after which the connection closes."""
    body = json.dumps({"error": text, "code": code}).encode()
    fields = [("content-type", "application/json"), ("content-length", str(len(body)))]
    if retry_after_s is not None:
        fields.append(("retry-after", str(retry_after_s)))
    return text_head(status, fields, CLOSE) + body


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body; nothing for nothing, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
