"""Requests as the status server reads them: bounded in every direction, one at a time on a connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from engine.supervisor.web.refusal import StatusRefusal

MOST_HEAD_BYTES = 16 * 1024
MOST_BODY_BYTES = 64 * 1024  # of an order, which names a deployment and a number
MOST_HEADERS = 100


@dataclass(slots=True)
class StatusRequest:
    """One request. Names of headers are in small letters; of one that came twice the values are joined."""

    method: str = ""
    target: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    keep_alive: bool = False

    @property
    def path(self) -> str:
        """Without the query; as it was sent, so that what is spelt in another way is another path."""
        return self.target.split(b"?", 1)[0].decode("latin-1")

    @property
    def only_looks(self) -> bool:
        """Whether it asks for nothing to be done. Every method but these two needs the token."""
        return self.method in ("GET", "HEAD")


class StatusReader:
    """Makes requests of what a connection receives. `feed` raises StatusRefusal; nothing can be read after that."""

    def __init__(self, on_head: Callable[[StatusRequest], None]) -> None:
        """`on_head` looks at a request whose body is still to come; what it raises is raised by `feed`."""
        self._on_head = on_head
        self._parser = httptools.HttpRequestParser(self)
        self._request = StatusRequest()
        self._arrived_bytes = 0  # before the headers were complete
        self._head_bytes = 0  # of what the parser has made of it
        self._reads_body = False
        self._refusal: StatusRefusal | None = None
        self.complete: StatusRequest | None = None
        self.is_empty = True  # nothing of a request has come
        self.is_crowded = False  # another request came before this one was answered

    def feed(self, data: bytes) -> None:
        """What has arrived. `complete` is the request once all of it is here. Raises StatusRefusal."""
        self.is_empty = False
        if not self._reads_body:
            self._arrived_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # after its end; whatever follows would be another protocol
            self.is_crowded = True
        except httptools.HttpParserInvalidMethodError as error:
            raise StatusRefusal(405, "METHOD_NOT_ALLOWED", "no such method", Allow="GET, HEAD") from error
        except httptools.HttpParserError as error:
            raise self._refusal or StatusRefusal(400, "BAD_REQUEST", "not a request of HTTP/1.1") from error
        if not self._reads_body and self.complete is None and self._arrived_bytes > MOST_HEAD_BYTES:
            raise _head_too_large()

    def next(self) -> None:
        """Ready for another request on the same connection."""
        self.complete, self.is_empty = None, True
        self._arrived_bytes, self._head_bytes, self._reads_body = 0, 0, False

    # --- httptools calls these --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self.is_crowded = self.is_crowded or self.complete is not None
        self._request = StatusRequest()

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._request.target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        headers, key, text = self._request.headers, name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self._count_head(len(name) + len(value))
        if len(headers) > MOST_HEADERS:
            self._refuse(_head_too_large())

    def on_headers_complete(self) -> None:
        """Looked at before its body is read."""
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        if self.is_crowded:
            return
        self._reads_body = True
        if "content-length" in request.headers and int(request.headers["content-length"]) > MOST_BODY_BYTES:
            self._refuse(_body_too_large())
        try:
            self._on_head(request)
        except StatusRefusal as refusal:
            self._refuse(refusal)

    def on_body(self, piece: bytes) -> None:
        """A piece of its body."""
        self._request.body += piece
        if len(self._request.body) > MOST_BODY_BYTES:
            self._refuse(_body_too_large())

    def on_message_complete(self) -> None:
        """All of it is here."""
        if not self.is_crowded:
            self.complete = self._request

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(_head_too_large())

    def _refuse(self, refusal: StatusRefusal) -> None:
        """Ends the reading: what a callback raises comes out of the parser as an error of its own."""
        self._refusal = refusal
        raise refusal


def _head_too_large() -> StatusRefusal:
    return StatusRefusal(431, "TOO_LARGE", f"a request's headers have at most {MOST_HEAD_BYTES} bytes")


def _body_too_large() -> StatusRefusal:
    return StatusRefusal(413, "TOO_LARGE", f"a request's body has at most {MOST_BODY_BYTES} bytes")
