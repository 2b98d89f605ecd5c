"""Where the next slice for the parser ends: at the end of a head, of a body, or after so many bytes.

A slice never holds the beginning of a second request, so that whoever feeds the parser can stop between two. And what
lies between the pieces of a body (chunk sizes, extensions, trailers, blank lines) is bounded like a head is: the parser
would take any amount of it.
"""

from __future__ import annotations

from frontend.transport_limits import TransportLimits

_BLANK_LINE = b"\r\n\r\n"
_LONGEST_BYTES = 64 * 1024
_OVERHEAD_PER_BYTE = 16  # of a chunked body; the smallest chunk that is one has five


class Slices:
    """Of one connection. `count` says whether what was fed is within bounds."""

    __slots__ = ("_idle_bytes", "_in_body", "_left_bytes", "_limits", "_overhead_bytes", "_tail", "_turned")

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._in_body = False
        self._turned = False  # a head or a request was completed by the slice that is being fed
        self._left_bytes = 0  # of a body whose length is declared
        self._idle_bytes = 0  # of a head, or since the last piece of a chunked body
        self._overhead_bytes = limits.header_bytes  # that the chunks of this body may still take
        self._tail = b""  # of the last slice that did not end in a blank line: it may hold the beginning of one

    def begin_body(self, declared_bytes: int | None) -> None:
        """A head is complete."""
        self._in_body = self._turned = True
        self._left_bytes = declared_bytes or 0
        self._overhead_bytes = self._limits.header_bytes

    def end_body(self) -> None:
        """A request is complete."""
        self._in_body, self._turned = False, True
        self._left_bytes = 0

    def next_end(self, data: bytes, position: int) -> int:
        """Where the slice that begins at `position` ends."""
        if self._left_bytes:
            return min(len(data), position + self._left_bytes)
        tail = self._tail
        if tail:
            seam = (tail + data[position:position + 3]).find(_BLANK_LINE)
            if seam >= 0:
                self._tail = b""
                return position + seam + len(_BLANK_LINE) - len(tail)
        longest = min(len(data), position + _LONGEST_BYTES)
        found = data.find(_BLANK_LINE, position, longest)
        if found >= 0:
            self._tail = b""
            return found + len(_BLANK_LINE)
        self._tail = (tail + data[max(position, longest - 3):longest])[-3:]
        return longest

    def count(self, fed_bytes: int, body_bytes: int) -> bool:
        """A slice of `fed_bytes` was parsed, `body_bytes` of it belong to the body that it lies in.

        False: there is too much of what is neither a body nor a complete head.
        """
        if self._turned:
            self._turned = False
            self._idle_bytes = 0
        elif self._left_bytes:
            self._left_bytes -= body_bytes
        elif not self._in_body:
            self._idle_bytes += fed_bytes
        else:
            self._idle_bytes = 0 if body_bytes else self._idle_bytes + fed_bytes
            self._overhead_bytes += _OVERHEAD_PER_BYTE * body_bytes - fed_bytes
        return self._idle_bytes <= self._limits.header_bytes and self._overhead_bytes >= 0
