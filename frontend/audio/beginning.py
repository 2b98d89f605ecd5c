"""Where the sound begins in a body that does not begin with it.

Recorders and download tools leave empty bytes before the first frame, taggers put ID3 and APE tags before files of
any kind, and forms made by hand a line break. Players do not mind. All searches are bounded.
"""

from __future__ import annotations

import itertools
import re

_MAX_PARTS = 8  # tags and runs of padding, arbitrary
_STEP_BYTES = 65_536
_MOST_PADDING_BYTES = 16 << 20  # arbitrary; passed at memory speed
_MOST_JUNK_BYTES = 65_536  # before the first frame of an MP3 stream, which has no magic
_PADDING = b"\0\r\n\t "
_MAGICS = (b"RIFF", b"RF64", b"BW64", b"RIFX", b"fLaC", b"OggS", b"FORM", b"caff", b".snd")
_ID3_BYTES = 10  # of an ID3v2 header, and of its footer
_ID3_HAS_FOOTER = 0x10
_APE_BYTES = 32

_FRAMES_IN_A_ROW = 3  # that make a stream; one header alone appears by chance in every 4 KB of noise
_MAX_CANDIDATES = 1_000  # bounds the time for a body full of headers
_SYNC = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]", re.DOTALL)
_KBITS_PER_S = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits


def after_tags(body: memoryview, position: int = 0) -> int:
    """The first position from `position` on where no ID3v2 or APEv2 tag begins; `position` itself for most files."""
    for _ in range(_MAX_PARTS):
        head = bytes(body[position:position + _APE_BYTES])
        if head.startswith(b"ID3") and len(head) >= _ID3_BYTES and max(head[6:10]) < 0x80:
            size_bytes = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            position += _ID3_BYTES + size_bytes + (_ID3_BYTES if head[5] & _ID3_HAS_FOOTER else 0)
        elif head.startswith(b"APETAGEX"):
            position += _APE_BYTES + int.from_bytes(head[12:16], "little")
        else:
            break
    return position


def sound_behind(body: memoryview) -> int:
    """Where a file of a known kind begins behind padding, tags or (MP3 only) some bytes of anything; 0: nowhere."""
    position = 0
    for _ in range(_MAX_PARTS):
        before = position
        position = after_tags(body, _after_padding(body, position))
        if position == before:
            break
    if bytes(body[position:position + 4]) in _MAGICS:
        return position
    return _first_mpeg_frame(body, position)


def _after_padding(body: memoryview, position: int) -> int:
    for start in range(position, min(len(body), position + _MOST_PADDING_BYTES), _STEP_BYTES):
        piece = bytes(body[start:start + _STEP_BYTES])
        kept = piece.lstrip(_PADDING)
        if kept:
            return start + len(piece) - len(kept)
    return position


def _first_mpeg_frame(body: memoryview, position: int) -> int:
    near = bytes(body[position:position + _MOST_JUNK_BYTES])
    for match in itertools.islice(_SYNC.finditer(near), _MAX_CANDIDATES):
        if _is_stream(body, position + match.start()):
            return position + match.start()
    return 0


def _is_stream(body: memoryview, position: int) -> bool:
    """Whether frames of one kind follow one another from here, to the end of the body if that comes first."""
    kind: tuple[int, int, int] | None = None
    for count in range(_FRAMES_IN_A_ROW):
        if count and position >= len(body):
            return count > 1 or position == len(body)
        frame = _mpeg_frame(bytes(body[position:position + 4]))
        if frame is None or (kind is not None and frame[:3] != kind):
            return False
        kind, position = frame[:3], position + frame[3]
    return True


def _mpeg_frame(head: bytes) -> tuple[int, int, int, int] | None:
    """(version bits, layer, rate in Hz, bytes of the frame) of an MPEG audio frame header; None if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bit_rate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or bit_rate in (0, 15):
        return None
    generation = 1 if version == 3 else 2
    bits_per_s = 1000 * _KBITS_PER_S[generation, min(layer, 4 - generation)][bit_rate]
    rate_hz = _RATES_HZ[version][rate]
    if layer == 1:
        return version, layer, rate_hz, (12 * bits_per_s // rate_hz + padding) * 4
    frames = 72 if layer == 3 and generation == 2 else 144
    return version, layer, rate_hz, frames * bits_per_s // rate_hz + padding
