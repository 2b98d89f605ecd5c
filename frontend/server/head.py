"""The head of one request: what of it is accepted, and what follows from it.

The parser refuses by itself what could make two readers disagree on where a request ends: bare LF, folded lines, two
lengths, a length beside chunks, characters that belong in no name. Here come the rules that it leaves out: sizes, one
Host, one Content-Type, known versions, no coding but `chunked`.
"""

from __future__ import annotations

import re

from frontend.server.refusals import TransportRefusal
from frontend.server.transport_limits import TransportLimits

_HOST = re.compile(rb"[\w.~%!$&'()*+,;=:\[\]-]*")
_VERSIONS = ("1.0", "1.1")


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
    """Filled by the parser's callbacks. Its bytes are bounded by what the parser is fed."""

    __slots__ = (
        *("_hosts", "_types", "coding", "declared_bytes", "expects_continue", "fields", "forwarded_for"),
        *("forwarded_proto", "url"),
    )

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []  # names in lower case
        self.declared_bytes: int | None = None  # by Content-Length; None: not declared
        self.coding = b""
        self.expects_continue = False
        self.forwarded_for: list[bytes] = []
        self.forwarded_proto = b""
        self._hosts: list[bytes] = []
        self._types = 0

    def check(self, version: str, limits: TransportLimits) -> None:
        """Raises HeadError for a complete head that no application should see."""
        if len(self.fields) > limits.header_fields:
            raise HeadersTooLarge()
        if version not in _VERSIONS:
            raise UnknownVersion()
        hosts = self._hosts
        if len(hosts) != 1 and (hosts or version == "1.1"):
            raise HeadError(f"A request has one Host field, not {len(hosts)}")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise HeadError("The Host field is no host name")
        if self._types > 1:  # a form, or not: what one reader refuses another would take
            raise HeadError(f"A request has one Content-Type field, not {self._types}")
        if self.coding:
            if version == "1.0":
                raise HeadError("HTTP/1.0 knows no transfer coding")
            if self.coding != b"chunked":
                raise UnknownCoding()

    def _note_host(self, value: bytes) -> None:
        self._hosts.append(value)

    def _note_type(self, value: bytes) -> None:
        self._types += 1

    def _note_length(self, value: bytes) -> None:
        self.declared_bytes = int(value)

    def _note_coding(self, value: bytes) -> None:
        self.coding = value.strip().lower()

    def _note_expectation(self, value: bytes) -> None:
        self.expects_continue = value.lower() == b"100-continue"

    def _note_forwarded_for(self, value: bytes) -> None:
        self.forwarded_for.append(value)

    def _note_forwarded_proto(self, value: bytes) -> None:
        self.forwarded_proto = value.strip().lower()


# What a field means to the connection, besides that it is one of `fields`; by its name in lower case.
NOTES = {
    b"host": RequestHead._note_host,
    b"content-type": RequestHead._note_type,
    b"content-length": RequestHead._note_length,
    b"transfer-encoding": RequestHead._note_coding,
    b"expect": RequestHead._note_expectation,
    b"x-forwarded-for": RequestHead._note_forwarded_for,
    b"x-forwarded-proto": RequestHead._note_forwarded_proto,
}
