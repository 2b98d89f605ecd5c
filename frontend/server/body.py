"""The body of one request while it comes in: whole pieces first, one growing buffer once there are many or it is long.

A body that comes in one piece is handed on as it is. Small pieces are joined at once, since the object around each
would cost more than its bytes. A long body grows in place, so that it costs what has come and never what was declared,
and is handed on without a second copy.
"""

from __future__ import annotations

LONG_BYTES = 1024 * 1024
_SMALL_PIECE_BYTES = 4096

Body = bytes | bytearray


class LongBody(bytearray):
    """A buffer that can be watched: who counts its bytes is told when it is gone, whoever was the last to hold it."""

    __slots__ = ("__weakref__",)


class BodyBuffer:
    """`size_bytes` is what is held."""

    __slots__ = ("_grown", "_pieces", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self._pieces: list[bytes] = []
        self._grown: LongBody | None = None

    def add(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self._grown is not None:
            self._grown += data
        elif not self._pieces or (len(data) >= _SMALL_PIECE_BYTES and self.size_bytes <= LONG_BYTES):
            self._pieces.append(data)
        else:
            self._grown = LongBody()
            for piece in self._pieces:
                self._grown += piece
            self._grown += data
            self._pieces.clear()

    def take(self) -> Body:
        """Everything in one piece; then this buffer is empty."""
        pieces, grown = self._pieces, self._grown
        self.size_bytes, self._pieces, self._grown = 0, [], None
        if grown is not None:
            return grown
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def clear(self) -> None:
        self.size_bytes = 0
        self._pieces = []
        self._grown = None
