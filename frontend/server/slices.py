"""Where the next slice for the parser ends: at the end of a head, of a body, or after so many bytes.

A slice never holds the beginning of a second request, so that whoever feeds the parser can stop between two. And what
lies between the pieces of a body (chunk sizes, extensions, trailers, blank lines) is bounded like a head is: the parser
would take any amount of it.
"""

from __future__ import annotations

from frontend.server.transport_limits import TransportLimits

_BLANK_LINE = b"\r\n\r\n"
_LONGEST_BYTES = 16 * 1024  # all of it chunks of one byte takes some milliseconds
_OVERHEAD_PER_BYTE = 16  # of a chunked body; the smallest chunk that is one has five


class Slices:
    """Of one connection. A slice is to be asked for, and then fed."""

    __slots__ = ("_idle_bytes", "_in_body", "_left_bytes", "_limits", "_overhead_bytes", "_seen_bytes", "_tail")

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._in_body = False
        self._left_bytes = 0  # of a body whose length is declared
        self._idle_bytes = 0  # of a head, or since the last piece of a chunked body
        self._overhead_bytes = 0  # that the chunks of this body may still take
        self._seen_bytes = 0  # of a chunked body
        self._tail = b""  # of the last slice that did not end in a blank line: it may hold the beginning of one

    def begin_body(self, declared_bytes: int | None) -> None:
        """A head is complete."""
        self._in_body = True
        self._left_bytes = declared_bytes or 0
        self._idle_bytes = self._seen_bytes = 0
        self._overhead_bytes = self._limits.header_bytes

    def end_body(self) -> None:
        """A request is complete."""
        self._in_body = False
        self._left_bytes = self._idle_bytes = 0

    def next_end(self, data: bytes, position: int, received_bytes: int) -> int:
        """Where the slice that begins at `position` ends; -1 if it must not be fed.

        `received_bytes`: of the body that is being received, so far.
        """
        left_bytes = self._left_bytes
        if left_bytes:
            end = position + left_bytes
            if end > len(data):
                end = len(data)
            self._left_bytes = left_bytes - (end - position)
            return end
        end = self._end_of_words(data, position)
        return end if self._allows(end - position, received_bytes) else -1

    def _end_of_words(self, data: bytes, position: int) -> int:
        """At a blank line, or far enough."""
        tail = self._tail
        if tail:
            seam = (tail + data[position:position + 3]).find(_BLANK_LINE)
            if seam >= 0:
                self._tail = b""
                return position + seam + len(_BLANK_LINE) - len(tail)
        found = data.find(_BLANK_LINE, position, position + _LONGEST_BYTES)
        if found >= 0:
            self._tail = b""
            return found + len(_BLANK_LINE)
        longest = min(len(data), position + _LONGEST_BYTES)
        self._tail = (tail + data[max(position, longest - 3):longest])[-3:]
        return longest

    def _allows(self, size_bytes: int, received_bytes: int) -> bool:
        if self._in_body:
            new_bytes, self._seen_bytes = received_bytes - self._seen_bytes, received_bytes
            self._overhead_bytes += _OVERHEAD_PER_BYTE * new_bytes - size_bytes
            if new_bytes:
                self._idle_bytes = 0
            longest_bytes = self._limits.header_bytes + _LONGEST_BYTES  # this very slice may be all body
            self._idle_bytes += size_bytes
            return self._idle_bytes <= longest_bytes and self._overhead_bytes >= -longest_bytes
        self._idle_bytes += size_bytes
        return self._idle_bytes <= self._limits.header_bytes
