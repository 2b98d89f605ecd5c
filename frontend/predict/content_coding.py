"""Compressed request bodies: gzip and deflate are undone within the limits, everything else is refused by name.

A few kilobytes may stand for gigabytes, so the limit is applied to what comes out, piece by piece, and what all
requests of this process have unpacked at once is bounded too. Not for an event loop: 100 MB take half a second.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator

from engine.errors import BodyTooLarge, CallerError, OverloadError

ACCEPTED = "gzip, deflate"

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE = -15  # what some clients send as deflate, without the zlib header that the name stands for
_IN_BYTES = 16 * 1024
_OUT_BYTES = 256 * 1024
_MAX_MEMBERS = 10_000  # of one gzip body; those of block-wise writers hold 64 KiB each, so that 100 MB need 1,600
_GZIP_MAGIC = b"\x1f\x8b"


class UnsupportedEncoding(CallerError):
    """The body has a Content-Encoding that is not read here"""

    code = "UNSUPPORTED_ENCODING"


class BrokenEncoding(CallerError):
    """The body is not what its Content-Encoding says"""

    code = "BROKEN_ENCODING"


class _Account:
    """Bytes that this process holds unpacked. Thread-safe; sole mutator: `add`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.total_bytes = 0

    def add(self, count_bytes: int) -> int:
        with self._lock:
            self.total_bytes += count_bytes
            return self.total_bytes


_account = _Account()


class _Unpacked(bytearray):
    """What was in a body. Counts in the account until the last view of it is gone."""

    counted_bytes = 0

    def take(self, piece: bytes) -> int:
        """Appends; returns what is unpacked in this process by now."""
        self.extend(piece)
        self.counted_bytes += len(piece)
        return _account.add(len(piece))

    def __del__(self) -> None:
        _account.add(-self.counted_bytes)


def coding_of(content_encoding: str) -> str:
    """The coding to undo; "" for none. Raises UnsupportedEncoding, which names it."""
    named = [name.strip().lower() for name in content_encoding.split(",")] if content_encoding else []
    codings = [name for name in named if name not in ("", "identity")]
    if not codings:
        return ""
    if len(codings) > 1 or codings[0] not in _WINDOW_BITS:
        shown = ascii(", ".join(codings)[:60])
        raise UnsupportedEncoding(f"Content-Encoding {shown} is not supported; send one of {ACCEPTED}, or none")
    return codings[0]


def unpacked(body: bytes | bytearray | memoryview, coding: str, *, limit_bytes: int, total_bytes: int) -> bytearray:
    """`body` without its coding. `total_bytes` bounds what all requests of this process hold at once.

    Raises BodyTooLarge for more than `limit_bytes`, BrokenEncoding for a body that is damaged or ends too early,
    OverloadError when others have unpacked too much just now.
    """
    made = _Unpacked()
    for piece in _pieces(memoryview(body), coding):
        if len(made) + len(piece) > limit_bytes:
            raise BodyTooLarge()
        if made.take(piece) > total_bytes:
            raise OverloadError("too many compressed bodies at once", retry_after_s=1.0)
    return made


def _pieces(body: memoryview, coding: str) -> Iterator[bytes]:
    position, members = 0, 0
    while True:
        unpacker = zlib.decompressobj(_window_bits(body[position:position + 2], coding))
        while position < len(body) and not unpacker.eof:
            packed = bytes(body[position:position + _IN_BYTES])
            position += len(packed)
            yield from _unpack(unpacker, packed, coding)
        if not unpacker.eof:
            raise BrokenEncoding(f"the {coding} body ends too early")
        members += 1
        position -= len(unpacker.unused_data)
        if coding == "deflate" or bytes(body[position:position + 2]) != _GZIP_MAGIC:
            return  # what follows is padding
        if members == _MAX_MEMBERS:
            raise BrokenEncoding(f"the {coding} body has more than {_MAX_MEMBERS} members")


def _unpack(unpacker: zlib._Decompress, packed: bytes, coding: str) -> Iterator[bytes]:
    try:
        while packed and not unpacker.eof:
            piece = unpacker.decompress(packed, _OUT_BYTES)
            packed = unpacker.unconsumed_tail
            yield piece
        while not unpacker.eof and (piece := unpacker.decompress(b"", _OUT_BYTES)):
            yield piece
    except zlib.error as error:
        raise BrokenEncoding(f"the {coding} body is damaged: {str(error).rpartition(': ')[2]}") from error


def _window_bits(start: memoryview, coding: str) -> int:
    if coding == "deflate" and len(start) == 2 and (start[0] & 0x0F != 8 or (start[0] << 8 | start[1]) % 31):
        return _RAW_DEFLATE
    return _WINDOW_BITS[coding]
