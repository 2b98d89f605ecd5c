"""How the samples of an uncompressed WAVE file lie in it, where the header leaves room for doubt.

A sample of fewer bits than its place may lie at its upper end, as the specification has it, or at its lower end, with
its sign before it or with zeros before it, as drivers of recorders write their registers out. Whoever guesses wrongly
gets a sound that is distorted beyond recognition and looks like any other, so the samples themselves decide. Where
the numbers of the header contradict each other and nothing decides, the file is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.errors import UndecodableAudio
from frontend.audio.wav import FLOAT, PCM, WavHeader

Words = np.ndarray[Any, np.dtype[Any]]

_LEAST_FLOAT, _LARGEST_FLOAT = 2.0**-40, 2.0**25  # read as floats, integers leave this range as soon as one is small
_MOST_FLOATS = 0.95  # of the words that are not zero; a computed sine has some that are as good as zero


class PackedSamples(NamedTuple):
    """Samples as every decoder reads them: `bits` is a multiple of 8, and they lie one behind the other."""

    format_tag: int
    bits: int
    data: bytes | memoryview


def packed(body: bytes | memoryview, header: WavHeader) -> PackedSamples:
    """The samples of a PCM or float file, without a copy unless they must be moved within their places.

    Raises UndecodableAudio where the header contradicts itself.
    """
    data = memoryview(body)[header.data_start:header.data_start + header.data_bytes]
    word_bytes, channels = header.word_bytes, header.channels
    room_bytes = header.block_bytes // channels if header.block_bytes % channels == 0 else 0
    if header.format_tag == PCM and 8 < header.valid_bits < 8 * room_bytes and word_bytes <= room_bytes <= 4:
        moved = _moved(_words(data, room_bytes), room_bytes, header.valid_bits)
        if moved is not None:
            return moved
    packed_bytes = channels * word_bytes
    rate_agrees = header.byte_rate == header.sample_rate_hz * packed_bytes
    if header.block_bytes not in (0, packed_bytes) and not rate_agrees:
        raise UndecodableAudio(
            f"the WAV header contradicts itself: {channels} x {header.bits} bits do not make a block of "
            f"{header.block_bytes} bytes; save the recording anew, for example as 16-bit PCM"
        )
    return PackedSamples(header.format_tag, 8 * word_bytes, data)


def _words(data: memoryview, room_bytes: int) -> Words:
    """The places as signed integers: int16 for two bytes, int32 for three or four."""
    count = len(data) // room_bytes
    if room_bytes != 3:
        return np.frombuffer(data, f"<i{room_bytes}", count)
    widened = np.zeros((count, 4), np.uint8)
    widened[:, 1:] = np.frombuffer(data, np.uint8, 3 * count).reshape(count, 3)
    return widened.view("<i4")[:, 0] >> 8


def _moved(words: Words, room_bytes: int, valid_bits: int) -> PackedSamples | None:
    """Samples of `valid_bits` in larger places, brought to the upper end; None where no way of lying fits."""
    if not len(words):
        return None
    spare_bits = 8 * room_bytes - valid_bits
    top = 1 << (valid_bits - 1)
    lowest, highest = int(words.min()), int(words.max())
    if 0 <= lowest and top <= highest < 2 * top and not _is_around(words, top):
        return _lifted((words ^ top) - top, room_bytes, spare_bits)  # zeros before the sign
    if _are_floats(words, room_bytes, valid_bits):
        return PackedSamples(FLOAT, 32, words.tobytes())
    if not int(np.bitwise_or.reduce(words)) & ((1 << spare_bits) - 1):
        return _lifted(words, room_bytes, 0)
    if -top <= lowest and highest < top:
        return _lifted(words, room_bytes, spare_bits)
    return None


def _is_around(words: Words, middle: int) -> bool:
    """Whether most words are nearer to `middle` than to 0 and its double: a sound with an offset, or unsigned."""
    near = (words >= middle // 2) & (words < middle + middle // 2)
    return 2 * int(np.count_nonzero(near)) > len(words)


def _are_floats(words: Words, room_bytes: int, valid_bits: int) -> bool:
    """An editor of the nineties wrote 32-bit floats under a header that says 24 bits in blocks of four bytes."""
    if room_bytes != 4 or valid_bits != 24:
        return False
    with np.errstate(invalid="ignore"):
        sizes = np.abs(words.view("<f4")[words != 0])
        fitting = np.count_nonzero((sizes >= _LEAST_FLOAT) & (sizes <= _LARGEST_FLOAT))
    return bool(fitting > _MOST_FLOATS * len(sizes))


def _lifted(words: Words, room_bytes: int, spare_bits: int) -> PackedSamples:
    if room_bytes == 3:  # held in four bytes here
        room_bytes, spare_bits = 4, spare_bits + 8
    return PackedSamples(PCM, 8 * room_bytes, (words << spare_bits).astype(f"<i{room_bytes}").tobytes())
