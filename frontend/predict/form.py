"""A multipart form in memory -> its parts, in time linear in the form, whatever is in it.

What is accepted, beyond the letter of RFC 7578, because clients send it: bare LF line ends, a preamble, parts without
a content type. A body that stops before its closing boundary gives the parts whose headers are complete, the last one
as long as it got.

A search over many megabytes would keep every other thread of the process waiting, since it is one call; so long ones
are done in pieces. What cannot be done in one call (a line that only begins like the boundary, a part, a header) is
counted, and bounded by an `Effort`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from engine.errors import CallerError
from frontend.predict.header_values import media_type, parameters

MAX_BOUNDARY_BYTES = 256  # RFC 2046 allows 70
MAX_HEADER_BYTES = 8_192  # of one part
MAX_HEADER_LINES = 64
MAX_FIELD_BYTES = 65_536  # kept of a field; those that mean something to us are a few bytes long

_PIECE_BYTES = 1 << 20  # at most 3 ms of searching
_LINE_END = re.compile(rb"[ \t]{0,256}\r?\n")
_HEADER_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")


class FormTooLarge(CallerError):
    """The form has more in it than is read"""


class Effort(NamedTuple):
    """How much of a form is read before it is refused; the file's own bytes do not count."""

    parts: int
    header_bytes: int  # of all parts
    field_bytes: int  # of all fields, as far as they are kept
    near_misses: int  # lines that begin like the boundary and are none


FULL = Effort(parts=1_000, header_bytes=1 << 20, field_bytes=1 << 20, near_misses=10_000)  # a tenth of a second at most
QUICK = Effort(parts=48, header_bytes=16_384, field_bytes=65_536, near_misses=2_000)  # a few milliseconds


class FormPart(NamedTuple):
    """One part: what its header says, and where in the body its data lies."""

    name: str
    filename: str | None
    content_type: str  # lower case without parameters; "" where none was given
    start: int
    end: int
    transfer_encoding: str = ""  # lower case; "" where none was given


class Form:
    """One body. Iterating over `parts` and asking for `text` raises FormTooLarge beyond the effort."""

    def __init__(self, boundary: bytes, body: bytes | bytearray, effort: Effort = FULL) -> None:
        self._body = body
        self._line = b"\n--" + boundary
        self._effort = effort
        self._header_bytes = 0
        self._field_bytes = 0
        self._near_misses = 0
        self.has_long_header = False  # a part's header was longer than we read, and nothing after it was looked at

    def parts(self) -> Iterator[FormPart]:
        """In order. Data ends before the line break that belongs to the next boundary, or with the body."""
        body = self._body
        _, position = self._next_boundary(0)
        for _ in range(self._effort.parts):
            if position < 0:
                return
            header_end = _HEADER_END.search(body, max(0, position - 1), position + MAX_HEADER_BYTES)
            if header_end is None:  # cut off inside a header, or no form at all
                self.has_long_header = position + MAX_HEADER_BYTES < len(body)
                return
            start = header_end.end()
            end, following = self._next_boundary(start)
            part = self._part(bytes(body[position:header_end.start()]), start, end)
            if part is not None:
                yield part
            position = following
        if position >= 0:
            raise FormTooLarge(f"the form has more than {self._effort.parts} parts")

    def text(self, part: FormPart) -> str:
        """A part's data as text, cut at MAX_FIELD_BYTES."""
        data = bytes(self._body[part.start:min(part.end, part.start + MAX_FIELD_BYTES)])
        self._field_bytes += len(data)
        if self._field_bytes > self._effort.field_bytes:
            raise FormTooLarge(f"the fields beside the file have more than {self._effort.field_bytes} bytes")
        return data.decode("utf-8", "replace")

    def _next_boundary(self, start: int) -> tuple[int, int]:
        """(where the data before the next boundary ends, where the header after it begins; -1 when it is the last)."""
        body, line = self._body, self._line
        found = self._find(start - 1)
        while found is not None:
            after = found + len(line)
            line_end = _LINE_END.match(body, after)
            if line_end is not None:  # another part
                return self._without_line_break(start, found + 1), line_end.end()
            if not body[after:after + 2].strip(b"-"):  # "--", or cut off right here
                return self._without_line_break(start, found + 1), -1
            self._near_misses += 1
            if self._near_misses > self._effort.near_misses:
                limit = self._effort.near_misses
                raise FormTooLarge(f"more than {limit} lines of the form begin like its boundary and are none")
            found = self._find(found + 1)
        return len(body), -1

    def _find(self, start: int) -> int | None:
        """Where the next line break before a line that begins like the boundary is: -1 before the body's first line."""
        body, line = self._body, self._line
        if start < 0 and body.startswith(line[1:]):
            return -1
        for piece in range(max(0, start), len(body), _PIECE_BYTES):
            found = body.find(line, piece, piece + _PIECE_BYTES + len(line))
            if found >= 0:
                return found
        return None

    def _without_line_break(self, start: int, end: int) -> int:
        for line_break in (b"\n", b"\r"):
            if end > start and self._body[end - 1:end] == line_break:
                end -= 1
            else:
                break
        return end

    def _part(self, header: bytes, start: int, end: int) -> FormPart | None:
        """None for a part that says no name."""
        self._header_bytes += len(header)
        if self._header_bytes > self._effort.header_bytes:
            raise FormTooLarge(f"the headers of the parts have more than {self._effort.header_bytes} bytes")
        if header.count(b"\n") >= MAX_HEADER_LINES:
            raise FormTooLarge(f"the header of a part has more than {MAX_HEADER_LINES} lines")
        headers: dict[str, str] = {}
        for line in _FOLD.sub(" ", header.decode("utf-8", "replace")).split("\n"):
            name, _, value = line.partition(":")
            headers.setdefault(name.strip(" \t\r").lower(), value.strip(" \t\r"))
        found = parameters(headers.get("content-disposition", ""))
        if "name" not in found:
            return None
        kind, encoding = headers.get("content-type", ""), headers.get("content-transfer-encoding", "")
        return FormPart(found["name"], found.get("filename"), media_type(kind), start, end, encoding.lower())
