"""The header of a RIFF WAVE file, read out of an upload without copying or trusting it.

Recorders die in the middle of a night and streams do not know their length, so no size field is believed beyond the
bytes that are there: a data chunk of size 0, 0xFFFFFFFF or more than what follows means "up to the end". All numbers
are little-endian; the big-endian sister RIFX is left to libsndfile.

Source: "Multimedia Programming Interface and Data Specifications 1.0" (1991), RFC 2361 for the format tags, and
EBU Tech 3306 for RF64 with its `ds64` chunk.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from engine.errors import UndecodableAudio

MAX_CHANNELS = 32
MAX_RATE_HZ = 768_000

_PCM = 0x0001
_EXTENSIBLE = 0xFFFE
_EXTENSIBLE_BYTES = 40  # of a fmt chunk that carries a sub-format
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # what follows the two tag bytes in a standard sub-format
_STREAMING = 0xFFFFFFFF
_MAX_CHUNKS = 256  # arbitrary; a file of empty chunks must not cost a walk over each of its 12 million headers
_CHUNK = struct.Struct("<4sI")
_FMT = struct.Struct("<HHIIHH")


class WavHeader(NamedTuple):
    """What a WAVE header says, with the data range cut to the bytes that exist."""

    format_tag: int  # for the extensible form: the tag inside the sub-format
    channels: int
    sample_rate_hz: int
    bits: int  # of one sample of one channel, as stored
    fmt_start: int  # offset of the payload of the fmt chunk
    fmt_bytes: int
    data_start: int
    data_bytes: int
    sizes_lie: bool  # the size of the data chunk was not the true one

    @property
    def is_pcm16(self) -> bool:
        """Whether the data chunk is plain int16, to be used where it lies."""
        return self.format_tag == _PCM and self.bits == 16

    @property
    def frames(self) -> int:
        """Whole frames in the data chunk; meaningful for uncompressed formats."""
        return self.data_bytes // (self.channels * max(1, self.bits // 8))


def is_wave(body: bytes | memoryview) -> bool:
    """Whether the magic is that of a little-endian WAVE file (RIFF or RF64)."""
    return bytes(body[:4]) in (b"RIFF", b"RF64") and bytes(body[8:12]) == b"WAVE"


def parse_wav(body: bytes | memoryview) -> WavHeader:
    """Reads the header of a body that `is_wave`; a few microseconds, whatever the size of the body.

    Raises UndecodableAudio for a missing fmt or data chunk and for rates and channel counts that no recording has.
    """
    fmt: tuple[int, int] | None = None
    long_data_bytes: int | None = None
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + _CHUNK.size > len(body):
            break
        name, size_bytes = _CHUNK.unpack_from(body, position)
        start = position + _CHUNK.size
        if name == b"data" and fmt is not None:
            size_bytes = long_data_bytes if long_data_bytes and size_bytes == _STREAMING else size_bytes
            return _header(body, fmt, start, size_bytes)
        if name == b"fmt ":
            fmt = (start, min(size_bytes, len(body) - start))
        elif name == b"ds64" and size_bytes >= 16 and start + 16 <= len(body):
            long_data_bytes = struct.unpack_from("<Q", body, start + 8)[0]
        position = _next_chunk(body, start, size_bytes)
    raise UndecodableAudio("the WAV file has no fmt chunk" if fmt is None else "the WAV file has no data chunk")


def repaired(body: bytes | memoryview, header: WavHeader) -> bytes:
    """The same file with nothing but fmt and data and with sizes that are true, for a decoder that believes them."""
    fmt = bytes(body[header.fmt_start:header.fmt_start + header.fmt_bytes])
    data = body[header.data_start:header.data_start + header.data_bytes]
    fmt += bytes(len(fmt) % 2)
    riff_bytes = 4 + 8 + len(fmt) + 8 + len(data)
    head = b"RIFF" + struct.pack("<I", min(riff_bytes, _STREAMING)) + b"WAVE"
    chunks = _CHUNK.pack(b"fmt ", len(fmt)) + fmt + _CHUNK.pack(b"data", min(len(data), _STREAMING))
    return b"".join((head, chunks, data))


def _next_chunk(body: bytes | memoryview, start: int, size_bytes: int) -> int:
    """Where the chunk after this one begins. Chunks are padded to even offsets, which some writers forget."""
    end = start + size_bytes
    if end > len(body):  # the size lies: what matters may still follow
        found = bytes(body[start:start + 65_536]).find(b"data")
        return start + found if found >= 0 else len(body)
    if size_bytes % 2 and bytes(body[end:end + 4]) not in (b"data", b"fmt "):
        end += 1
    return end


def _data_bytes(body: bytes | memoryview, start: int, size_bytes: int) -> int:
    """Bytes of the data chunk that are there."""
    present_bytes = len(body) - start
    if size_bytes == 0 and not _only_chunks_follow(body, start):
        return present_bytes
    return min(size_bytes, present_bytes)


def _only_chunks_follow(body: bytes | memoryview, position: int) -> bool:
    """Whether the rest is a whole number of chunks: then a data chunk of size 0 is empty, not of unknown length."""
    for _ in range(_MAX_CHUNKS):
        if position + _CHUNK.size > len(body):
            break
        name, size_bytes = _CHUNK.unpack_from(body, position)
        if not name.isascii() or not name.decode().isprintable():
            return False
        position += _CHUNK.size + size_bytes + size_bytes % 2
    return len(body) <= position <= len(body) + 1


def _header(body: bytes | memoryview, fmt: tuple[int, int], data_start: int, stated_bytes: int) -> WavHeader:
    data_bytes = _data_bytes(body, data_start, stated_bytes)
    fmt_start, fmt_bytes = fmt
    if fmt_bytes < _FMT.size:
        raise UndecodableAudio(f"the fmt chunk of the WAV file has {fmt_bytes} bytes, at least {_FMT.size} are needed")
    tag, channels, rate_hz, _, _, bits = _FMT.unpack_from(body, fmt_start)
    if tag == _EXTENSIBLE and fmt_bytes >= _EXTENSIBLE_BYTES:
        sub_format = bytes(body[fmt_start + 24:fmt_start + _EXTENSIBLE_BYTES])
        if sub_format[2:] == _GUID_TAIL:
            tag = int.from_bytes(sub_format[:2], "little")
    check_shape(channels, rate_hz)
    return WavHeader(tag, channels, rate_hz, bits, fmt_start, fmt_bytes, data_start, data_bytes,
                     data_bytes != stated_bytes)


def check_shape(channels: int, sample_rate_hz: int) -> None:
    """Raises UndecodableAudio for a channel count or a rate that no recording has."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise UndecodableAudio(f"the recording has {channels} channels, 1 to {MAX_CHANNELS} are read")
    if not 1 <= sample_rate_hz <= MAX_RATE_HZ:
        raise UndecodableAudio(f"the sample rate is {sample_rate_hz} Hz, 1 to {MAX_RATE_HZ} Hz are read")
