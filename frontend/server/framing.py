"""How the end of a response's body is told: by its length, by chunks, by closing, or because there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from engine.errors import InternalError
from frontend.server.wire import CHUNKED, LAST_CHUNK, chunk


class Framing(Protocol):
    """`line`: what the head says of it; empty when the application has said it."""

    line: bytes
    ends_by_closing: bool

    def frame(self, body: bytes, more: bool) -> bytes:
        """A piece of the body as it goes out. Raises InternalError when the application breaks its own word."""


class _NoBody:
    line = b""
    ends_by_closing = False

    def frame(self, body: bytes, more: bool) -> bytes:
        return b""


class _Closing:
    line = b""
    ends_by_closing = True

    def frame(self, body: bytes, more: bool) -> bytes:
        return body


class _Chunked:
    ends_by_closing = False

    def __init__(self, line: bytes) -> None:
        self.line = line

    def frame(self, body: bytes, more: bool) -> bytes:
        return chunk(body) if more else chunk(body) + LAST_CHUNK


class _Length:
    ends_by_closing = False

    def __init__(self, length_bytes: int, line: bytes) -> None:
        self.line = line
        self._left_bytes = length_bytes

    def frame(self, body: bytes, more: bool) -> bytes:
        self._left_bytes -= len(body)
        if self._left_bytes < 0 or (self._left_bytes > 0 and not more):
            raise InternalError("a response body does not have its announced length")
        return body


def framing_of(
    fields: Mapping[bytes, bytes], *, has_body: bool, only_bytes: int | None, http_1_0: bool
) -> Framing:  # fmt: skip
    """`only_bytes`: the whole length, when the first piece is the last one too."""
    if not has_body:
        return _NoBody()
    if b"content-length" in fields:
        return _Length(int(fields[b"content-length"]), b"")
    if only_bytes is not None:
        return _Length(only_bytes, b"content-length: %d\r\n" % only_bytes)
    if http_1_0:
        return _Closing()
    return _Chunked(b"" if b"transfer-encoding" in fields else CHUNKED)
