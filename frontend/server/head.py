"""The head of one request: what of it is accepted, and what follows from it.

The parser refuses by itself what could make two readers disagree on where a request ends: bare LF, folded lines, two
lengths, a length beside chunks, characters that belong in no name. Here come the rules that it leaves out: sizes, one
Host, one Content-Type, known versions, no coding but `chunked`.
"""

from __future__ import annotations

import functools
import re
import urllib.parse

import httptools

from frontend.server.peer import HttpPeer
from frontend.server.refusals import TransportRefusal
from frontend.server.request_head import headers_of_fields
from frontend.server.transport_limits import TransportLimits

_HOST = re.compile(rb"[\w.~%!$&'()*+,;=:\[\]-]*")
_VERSIONS = ("1.0", "1.1")
_KNOWN_TARGET_BYTES = 256  # of the longest target that is remembered
_ONCE = (b"host", b"content-type")  # a second one would make two readers understand two requests


class HeadError(TransportRefusal):
    """Invalid HTTP request"""


class HeadersTooLarge(HeadError):
    """The request headers are too large"""

    code = "HEADERS_TOO_LARGE"
    status = 431


class UnknownCoding(HeadError):
    """Only the transfer coding chunked is supported"""

    code = "NOT_IMPLEMENTED"
    status = 501


class UnknownVersion(HeadError):
    """Only HTTP/1.0 and HTTP/1.1 are spoken here"""

    code = "VERSION_NOT_SUPPORTED"
    status = 505


class RequestHead:
    """`url` and `fields` are filled by the parser's callbacks, bounded by what it is fed; `complete` fills the rest."""

    __slots__ = (
        *("_headers", "_peer", "coding", "declared_bytes", "expects_continue", "fields", "method", "path", "query"),
        *("raw_path", "url", "version"),
    )

    def __init__(self, peer: HttpPeer) -> None:
        self._peer = peer
        self._headers: dict[str, str] | None = None
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []  # names in lower case
        self.method = ""
        self.version = ""
        self.raw_path = b""
        self.path = ""
        self.query = b""
        self.declared_bytes: int | None = None  # by Content-Length; None: not declared
        self.coding = b""
        self.expects_continue = False

    def complete(self, method: bytes, version: str, limits: TransportLimits) -> None:
        """All fields are there. Raises HeadError for a head that no application should see."""
        self.method, self.version = method.decode("ascii"), version
        fields = self.fields
        if len(fields) > limits.header_fields:
            raise HeadersTooLarge()
        if version not in _VERSIONS:
            raise UnknownVersion()
        named = dict(fields)
        if len(named) != len(fields):
            self._check_repeated()
        host = named.get(b"host")
        if host is None:
            if version == "1.1":
                raise HeadError("A request has one Host field, not 0")
        elif not _HOST.fullmatch(host):
            raise HeadError("The Host field is no host name")
        length = named.get(b"content-length")
        if length is not None:
            self.declared_bytes = int(length)
        if b"transfer-encoding" in named:
            self._check_coding(named[b"transfer-encoding"])
        if b"expect" in named:
            self.expects_continue = named[b"expect"].lower() == b"100-continue"
        url = self.url
        self.raw_path, self.path, self.query = _known_target(url) if len(url) <= _KNOWN_TARGET_BYTES else _target(url)

    def _check_repeated(self) -> None:
        for once in _ONCE:
            count = sum(name == once for name, _ in self.fields)
            if count > 1:
                raise HeadError(f"A request has one {once.decode().title()} field, not {count}")

    def _check_coding(self, value: bytes) -> None:
        self.coding = value.strip().lower()
        if self.version == "1.0":
            raise HeadError("HTTP/1.0 knows no transfer coding")
        if self.coding != b"chunked":
            raise UnknownCoding()

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case name -> value; decoded once, for whoever asks first."""
        if self._headers is None:
            self._headers = headers_of_fields(self.fields)
        return self._headers

    @property
    def address(self) -> str:
        """The caller's, by what trusted proxies say. Empty for a Unix socket."""
        peer = self._peer
        return peer.caller(self.headers) if peer.trusted and "x-forwarded-for" in self.headers else peer.address

    @property
    def peer(self) -> HttpPeer:
        """Who has sent it."""
        return self._peer


def path_of(head: RequestHead) -> str:
    """The path that a head asks for, as far as it has come; empty for a target that is none."""
    try:
        return _target(head.url)[1]
    except httptools.HttpParserInvalidURLError:
        return ""


def _target(url: bytes) -> tuple[bytes, str, bytes]:
    """Raw path, path and query. Raises httptools.HttpParserInvalidURLError for a target that is none."""
    parsed = httptools.parse_url(url)
    raw_path = parsed.path or b"/"
    path = raw_path.decode("ascii")
    return raw_path, urllib.parse.unquote(path) if "%" in path else path, parsed.query or b""


_known_target = functools.lru_cache(maxsize=256)(_target)  # clients ask for the same few over and over
