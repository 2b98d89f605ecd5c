"""The header of a RIFF WAVE file, read out of an upload without copying or trusting it.

Recorders die in the middle of a night and streams do not know their length, so no size field is believed beyond what
the bytes bear out (`wav_end.py` says where the samples end). All numbers are little-endian; the big-endian sister
RIFX is left to libsndfile.

Source: "Multimedia Programming Interface and Data Specifications 1.0" (1991), RFC 2361 for the format tags, EBU
Tech 3306 for RF64 with its `ds64` chunk, and ITU-R BS.2088 for BW64, which is RF64 under another magic.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from engine.errors import UndecodableAudio
from frontend.audio.wav_end import sound_bytes

MAX_CHANNELS = 32
MAX_RATE_HZ = 768_000
PCM = 0x0001
FLOAT = 0x0003

_EXTENSIBLE = 0xFFFE
_EXTENSIBLE_BYTES = 40  # of a fmt chunk that carries a sub-format
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # what follows the two tag bytes in a standard sub-format
_STREAMING = 0xFFFFFFFF
_MAX_CHUNKS = 256  # arbitrary; a file of empty chunks must not cost a walk over each of its 12 million headers
_SEARCH_BYTES = 65_536  # how far a chunk is looked for behind one whose size lies
_MAX_CANDIDATES = 64  # looked at in one search: a body full of names must not cost a look at each
_CHUNK = struct.Struct("<4sI")
_FMT = struct.Struct("<HHIIHH")
_PLAIN = struct.Struct("<4sI4s4sIHHIIHH4sI")  # of a file with one fmt chunk, of 16 bytes, and the samples behind it
PLAIN_BYTES = _PLAIN.size
_PLAIN_WORDS = (b"RIFF", b"WAVE", b"fmt ", _FMT.size, PCM, 16, b"data")


class WavHeader(NamedTuple):
    """What a WAVE header says, with the data range cut to the samples that exist."""

    format_tag: int  # for the extensible form: the tag inside the sub-format
    channels: int
    sample_rate_hz: int
    byte_rate: int  # stated bytes per second; often wrong, a witness where the others disagree
    block_bytes: int  # stated bytes of one sample of all channels
    bits: int  # of one sample of one channel, as stated
    valid_bits: int  # of these, how many carry sound; `bits` where nothing else is stated
    fmt_start: int  # offset of the payload of the fmt chunk
    fmt_bytes: int
    data_start: int
    data_bytes: int
    fact_start: int = 0  # offset of the payload of the fact chunk, which some decoders want; 0: there is none

    @property
    def is_pcm16(self) -> bool:
        """Whether the data chunk is plain int16, to be used where it lies."""
        fits = self.block_bytes == 2 * self.channels
        return self.format_tag == PCM and self.bits == 16 and self.valid_bits == 16 and fits

    @property
    def word_bytes(self) -> int:
        """Bytes that one sample of one channel takes where samples are packed."""
        return (self.bits + 7) // 8


def is_wave(body: bytes | memoryview) -> bool:
    """Whether the magic is that of a little-endian WAVE file (RIFF, RF64 or BW64)."""
    return bytes(body[:4]) in (b"RIFF", b"RF64", b"BW64") and bytes(body[8:12]) == b"WAVE"


def plain_pcm16(body: bytes | memoryview) -> tuple[int, int] | None:
    """Channels and sample rate of a file as recorders write it: 16-bit PCM behind a header of PLAIN_BYTES, to its end.

    None for any other file, which `parse_wav` reads.
    """
    if len(body) <= PLAIN_BYTES:
        return None
    riff, _, wave, fmt, fmt_bytes, tag, channels, rate_hz, _, block, bits, data, size = _PLAIN.unpack_from(body)
    if (riff, wave, fmt, fmt_bytes, tag, bits, data) != _PLAIN_WORDS or size != len(body) - PLAIN_BYTES:
        return None
    if block != 2 * channels or not (1 <= channels <= MAX_CHANNELS and 1 <= rate_hz <= MAX_RATE_HZ):
        return None
    return channels, rate_hz


def parse_wav(body: bytes | memoryview) -> WavHeader:
    """Reads the header of a body that `is_wave`; a few microseconds, whatever the size of the body.

    Raises UndecodableAudio for a missing fmt or data chunk and for rates and channel counts that no recording has.
    """
    fmt: tuple[int, int] | None = None
    long_data_bytes = fact_start = 0
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + _CHUNK.size > len(body):
            break
        name, size_bytes = _CHUNK.unpack_from(body, position)
        start = position + _CHUNK.size
        if name == b"data" and fmt is not None:
            if long_data_bytes and size_bytes in (0, _STREAMING):
                size_bytes = long_data_bytes
            return _header(body, fmt, start, sound_bytes(body, start, size_bytes), fact_start)
        if name == b"fmt ":
            fmt = (start, min(size_bytes, len(body) - start))
        elif name == b"fact" and 4 <= size_bytes <= len(body) - start:
            fact_start = start
        elif name == b"ds64" and size_bytes >= 16 and start + 16 <= len(body):
            long_data_bytes = struct.unpack_from("<Q", body, start + 8)[0]
        position = _next_chunk(body, start, size_bytes, b"data" if fmt else b"fmt ")
    raise UndecodableAudio("the WAV file has no fmt chunk" if fmt is None else "the WAV file has no data chunk")


def bare(body: bytes | memoryview, header: WavHeader) -> bytes:
    """The same sound with nothing but the chunks that a decoder needs and with sizes that are true.

    Any other chunk (PEAK, LIST, bext, ...) could only cost the recording: libsndfile refuses files for the sizes of
    chunks that no sample depends on.
    """
    fmt = bytes(body[header.fmt_start:header.fmt_start + header.fmt_bytes])
    fact = bytes(body[header.fact_start:header.fact_start + 4]) if header.fact_start else b""
    return wave_of(fmt, body[header.data_start:header.data_start + header.data_bytes], fact)


def packed_wave(tag: int, bits: int, header: WavHeader, data: bytes | memoryview) -> bytes:
    """A file of `data`: samples of `bits`, a multiple of 8, one behind the other."""
    block_bytes = header.channels * bits // 8
    byte_rate = min(header.sample_rate_hz * block_bytes, _STREAMING)
    return wave_of(_FMT.pack(tag, header.channels, header.sample_rate_hz, byte_rate, block_bytes, bits), data)


def wave_of(fmt: bytes, data: bytes | memoryview, fact: bytes = b"") -> bytes:
    """A WAVE file of these payloads."""
    chunks = _CHUNK.pack(b"fmt ", len(fmt)) + fmt + bytes(len(fmt) % 2)
    if fact:
        chunks += _CHUNK.pack(b"fact", len(fact)) + fact
    chunks += _CHUNK.pack(b"data", min(len(data), _STREAMING))
    riff_bytes = min(4 + len(chunks) + len(data), _STREAMING)
    return b"".join((b"RIFF", struct.pack("<I", riff_bytes), b"WAVE", chunks, data))


def check_shape(channels: int, sample_rate_hz: int) -> None:
    """Raises UndecodableAudio for a channel count or a rate that no recording has."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise UndecodableAudio(f"the recording has {channels} channels, 1 to {MAX_CHANNELS} are read")
    if not 1 <= sample_rate_hz <= MAX_RATE_HZ:
        raise UndecodableAudio(f"the sample rate is {sample_rate_hz} Hz, 1 to {MAX_RATE_HZ} Hz are read")


def _next_chunk(body: bytes | memoryview, start: int, size_bytes: int, wanted: bytes) -> int:
    """Where the chunk after this one begins. Chunks are padded to even offsets, which some writers forget."""
    end = start + size_bytes
    if end > len(body):  # the size lies: what matters may still follow
        return _position_of(wanted, body, start)
    if size_bytes % 2 and bytes(body[end:end + 4]) not in (b"data", b"fmt "):
        end += 1
    return end


def _position_of(name: bytes, body: bytes | memoryview, start: int) -> int:
    """The next place where a chunk of this name may begin: one whose size fits the file, else the first.

    Texts in the chunk that lies may hold the name as well. `len(body)` where it is not found.
    """
    near = bytes(body[start:start + _SEARCH_BYTES])
    first = found = near.find(name)
    if first < 0:
        return len(body)
    for _ in range(_MAX_CANDIDATES):
        size_bytes = int.from_bytes(near[found + 4:found + 8], "little")
        if size_bytes in (0, _STREAMING) or size_bytes <= len(body) - start - found - _CHUNK.size:
            return start + found
        found = near.find(name, found + 1)
        if found < 0:
            break
    return start + first


def _header(
    body: bytes | memoryview, fmt: tuple[int, int], data_start: int, data_bytes: int, fact_start: int
) -> WavHeader:
    fmt_start, fmt_bytes = fmt
    if fmt_bytes < _FMT.size:
        raise UndecodableAudio(f"the fmt chunk of the WAV file has {fmt_bytes} bytes, at least {_FMT.size} are needed")
    tag, channels, rate_hz, byte_rate, block_bytes, bits = _FMT.unpack_from(body, fmt_start)
    valid_bits = bits
    if tag == _EXTENSIBLE and fmt_bytes >= _EXTENSIBLE_BYTES:
        sub_format = bytes(body[fmt_start + 24:fmt_start + _EXTENSIBLE_BYTES])
        if sub_format[2:] == _GUID_TAIL:
            tag = int.from_bytes(sub_format[:2], "little")
            stated_bits = int.from_bytes(body[fmt_start + 18:fmt_start + 20], "little")
            valid_bits = stated_bits if 0 < stated_bits < bits else bits
    check_shape(channels, rate_hz)
    return WavHeader(tag, channels, rate_hz, byte_rate, block_bytes, bits, valid_bits, fmt_start, fmt_bytes,
                     data_start, data_bytes, fact_start)
