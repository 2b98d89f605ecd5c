"""AIFF, RIFX and CAF files without the chunks that no sample depends on.

Like WAVE they are chains of chunks, and libsndfile refuses them too for the size of a PEAK chunk that an editor got
wrong. WAVE files are always handed over bare (`wav.py`); these only once they have been refused.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_MAX_CHUNKS = 256  # arbitrary, as in WAVE files


class _Kind(NamedTuple):
    """How one kind of file lays its chunks out."""

    magic: bytes
    head_bytes: int  # before the first chunk
    chunk: struct.Struct  # name and size of a chunk
    padding: int  # chunks begin at multiples of this
    needed: tuple[bytes, ...]


_KINDS = (
    _Kind(b"FORM", 12, struct.Struct(">4sI"), 2, (b"FVER", b"COMM", b"SSND")),
    _Kind(b"RIFX", 12, struct.Struct(">4sI"), 2, (b"fmt ", b"fact", b"data")),
    _Kind(b"caff", 8, struct.Struct(">4sq"), 1, (b"desc", b"kuki", b"pakt", b"data")),
)


def without_unused_chunks(body: memoryview) -> bytes | None:
    """The file with what its samples need and nothing else; None where it is of no such kind or holds nothing else."""
    magic = bytes(body[:4])
    kind = next((kind for kind in _KINDS if kind.magic == magic), None)
    if kind is None:
        return None
    kept: list[bytes | memoryview] = []
    position, dropped = kind.head_bytes, 0
    for _ in range(_MAX_CHUNKS):
        if position + kind.chunk.size > len(body):
            break
        name, size_bytes = kind.chunk.unpack_from(body, position)
        end = position + kind.chunk.size + size_bytes if size_bytes >= 0 else len(body)  # -1: up to the end
        end = min(end + size_bytes % kind.padding, len(body))
        if name in kind.needed:
            kept.append(body[position:end])
        else:
            dropped += 1
        position = end
    if not dropped:
        return None
    head = bytes(body[:kind.head_bytes])
    if kind.head_bytes == 12:
        head = head[:4] + struct.pack(">I", min(4 + sum(map(len, kept)), 0xFFFFFFFF)) + head[8:]
    return b"".join((head, *kept))
