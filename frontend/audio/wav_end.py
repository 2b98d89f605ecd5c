"""Where the samples of a WAVE file end, whatever the size of its data chunk says.

The rule: a stated size ends the samples if what follows it is explained: chunks one behind the other to the end of
the file, tags as players append them, padding, or less than a lost recording would be. What is not explained are
samples, up to such tags or chunks at the very end. A size beyond the file means up to its end.

Recorders that die leave the size that they wrote when they began; others write a wrong one. Taking tags for samples,
on the other hand, is a burst at full scale, which sets the level of the whole recording.
"""

from __future__ import annotations

import struct

import numpy as np

_CHUNK = struct.Struct("<4sI")
_MAX_CHUNKS = 256  # arbitrary, like the most in front of the samples
_LEAST_LOST_BYTES = 1024  # arbitrary; a checksum or a signature behind the samples is smaller, a loss worth hearing not
_TAIL_BYTES = 65_536  # how far from the end the chunks of a file whose data size lies are looked for
_ZEROS_BYTES = 1 << 20  # looked at at once; sound ends the look early
_ID3V1_BYTES = 128
_APE_BYTES = 32  # of an APE tag's header, and of its footer
_APE_HAS_HEADER = 1 << 31
_TRAILERS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"_PMX", b"guan", b"wamd", b"cue ", b"smpl",
             b"PEAK", b"fact", b"JUNK", b"junk", b"PAD ", b"FLLR")


def sound_bytes(body: bytes | memoryview, start: int, stated_bytes: int) -> int:
    """Bytes of the samples that begin at `start` under a size of `stated_bytes`; what there is, never more.

    Constant in time but for padding of zeros, which is read at memory speed.
    """
    present_bytes = len(body) - start
    if 0 < stated_bytes <= present_bytes < stated_bytes + _LEAST_LOST_BYTES:
        return stated_bytes
    if stated_bytes < present_bytes and _is_explained(body, start + stated_bytes, stated_bytes):
        return stated_bytes
    return present_bytes - _appended_bytes(body, start)


def _is_explained(body: bytes | memoryview, end: int, stated_bytes: int) -> bool:
    # A size of 0 is what an unfinished file says, so that there only a whole chain of chunks makes it true.
    least_bytes = _LEAST_LOST_BYTES if stated_bytes else _CHUNK.size
    return any(_unexplained_bytes(body, end + padding, bool(stated_bytes)) < least_bytes
               for padding in range(stated_bytes % 2, -1, -1))


def _unexplained_bytes(body: bytes | memoryview, position: int, is_finished: bool) -> int:
    """How much is left behind the chunks, tags and zeros that begin at `position`."""
    for _ in range(_MAX_CHUNKS):
        rest_bytes = len(body) - position
        if rest_bytes < _CHUNK.size:
            return max(0, rest_bytes)
        if is_finished and _is_tag_or_padding(body, position):
            return 0
        name, size_bytes = _CHUNK.unpack_from(body, position)
        if not (name.isascii() and name.decode().isprintable()):
            return rest_bytes
        end = position + _CHUNK.size + size_bytes
        if end > len(body) + 1:
            return 0 if is_finished and _is_end_of_riff(body, end) else rest_bytes
        position = end + (size_bytes % 2 and bytes(body[end:end + 4]) not in _TRAILERS)
    return 0


def _is_end_of_riff(body: bytes | memoryview, end: int) -> bool:
    """Whether the RIFF header agrees that the file once reached to `end`: then its last chunk was cut off."""
    stated_end = 8 + int(_CHUNK.unpack_from(body, 0)[1])
    return stated_end in (end, end + 1)


def _is_tag_or_padding(body: bytes | memoryview, position: int) -> bool:
    begin = bytes(body[position:position + 11])
    if begin.startswith((b"APETAGEX", b"LYRICSBEGIN", b"ID3\2", b"ID3\3", b"ID3\4")):
        return True
    if begin.startswith(b"TAG"):
        return len(body) - position == _ID3V1_BYTES
    return begin[0] == 0 and _are_zeros(body, position)


def _are_zeros(body: bytes | memoryview, position: int) -> bool:
    rest = np.frombuffer(body, np.uint8, offset=position)
    if rest[:256].any():
        return False
    return not any(rest[start:start + _ZEROS_BYTES].any() for start in range(0, len(rest), _ZEROS_BYTES))


def _appended_bytes(body: bytes | memoryview, start: int) -> int:
    """Bytes of the tags and chunks at the very end of a file whose samples begin at `start`."""
    end = len(body)
    for _ in range(8):  # arbitrary; few files carry more than two
        begin = _begin_of_last(body, start, end)
        if begin == end:
            break
        end = begin
    return len(body) - end


def _begin_of_last(body: bytes | memoryview, start: int, end: int) -> int:
    """Where the tag or the chunk begins that ends at `end`; `end` if none does."""
    tail = bytes(body[max(start, end - _TAIL_BYTES):end])
    begin_bytes = 0
    if tail[-_ID3V1_BYTES:].startswith(b"TAG") and len(tail) >= _ID3V1_BYTES:
        begin_bytes = _ID3V1_BYTES
    elif tail[-_APE_BYTES:].startswith(b"APETAGEX") and len(tail) >= _APE_BYTES:
        size_bytes, _, flags = struct.unpack_from("<III", tail, len(tail) - _APE_BYTES + 12)
        begin_bytes = size_bytes + (_APE_BYTES if flags & _APE_HAS_HEADER else 0)
    else:
        begin_bytes = max(_last_chunk_bytes(tail, name) for name in _TRAILERS)
    return end - begin_bytes if begin_bytes <= end - start else end


def _last_chunk_bytes(tail: bytes, name: bytes) -> int:
    """Bytes of a chunk of this name that reaches to the end of `tail`; 0 if there is none."""
    found = tail.rfind(name)
    if found < 0 or found + _CHUNK.size > len(tail):
        return 0
    whole_bytes = _CHUNK.size + int(_CHUNK.unpack_from(tail, found)[1])
    rest_bytes = len(tail) - found
    return rest_bytes if rest_bytes in (whole_bytes, whole_bytes + whole_bytes % 2) else 0
