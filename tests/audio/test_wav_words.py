"""Samples that lie in larger places than they need, and headers that contradict themselves."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from engine.errors import UndecodableAudio
from frontend.audio.decode import Recording, decode, decode_in_place
from tests.audio.sounds import Array, chunk, fmt, riff, tone

RATE_HZ = 48_000
SOUND = np.stack([
    tone(6_000, rate_hz=RATE_HZ, tone_hz=440, amplitude=0.7), tone(6_000, rate_hz=RATE_HZ, tone_hz=600, amplitude=0.2),
], axis=1)
PCM_SUB_FORMAT = bytes.fromhex("0100000000001000800000aa00389b71")


def integers(bits: int, track: Array = SOUND) -> Array:
    """int32 of `bits`."""
    return np.round(track.astype(np.float64) * ((1 << (bits - 1)) - 1)).astype(np.int32)


def stored(words: Array, room_bytes: int) -> bytes:
    """The lowest `room_bytes` of each word."""
    return words.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :room_bytes].tobytes()


def lying(words: Array, bits: int, room_bytes: int) -> dict[str, bytes]:
    """The ways in which drivers lay `bits` into `room_bytes`."""
    return {
        "sign extended": stored(words, room_bytes),
        "zeros above": stored(words & ((1 << bits) - 1), room_bytes),
        "at the upper end": stored(words << (8 * room_bytes - bits), room_bytes),
    }


def read(body: bytes) -> Recording:
    return decode(body, max_duration_s=0, max_decoded_bytes=0)


def assert_same_sound(recording: Recording, expected: Array = SOUND, *, tolerance: float = 1e-3) -> None:
    """The same up to its level, which normalisation takes away."""
    samples = recording.samples.astype(np.float64)
    assert samples.shape == expected.shape
    np.testing.assert_allclose(samples / np.abs(samples).max(), expected / np.abs(expected).max(), atol=tolerance)


@pytest.mark.parametrize("how", ["sign extended", "zeros above", "at the upper end"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits, room_bytes", [
    (24, 4), (20, 4), (18, 4), (20, 3), (18, 3), (12, 2), (14, 2), (10, 2), (16, 4),
])
def test_samples_in_larger_places_are_the_right_sound(bits: int, room_bytes: int, channels: int, how: str) -> None:
    track = SOUND[:, :channels]
    data = lying(integers(bits, track), bits, room_bytes)[how]
    head = fmt(channels, RATE_HZ, bits=bits, block_bytes=channels * room_bytes)
    body = riff(chunk(b"fmt ", head), chunk(b"data", data))
    assert_same_sound(read(body), track, tolerance=2.0 ** (2 - bits))
    if room_bytes == 4:
        assert decode_in_place(body, max_duration_s=0) is None


@pytest.mark.parametrize("how", ["sign extended", "zeros above", "at the upper end"])
@pytest.mark.parametrize("bits, room_bytes", [(24, 4), (20, 3), (12, 2)])
def test_extensible_headers_say_how_many_bits_are_valid(bits: int, room_bytes: int, how: str) -> None:
    extension = struct.pack("<HHI", 22, bits, 3) + PCM_SUB_FORMAT
    head = fmt(2, RATE_HZ, tag=0xFFFE, bits=8 * room_bytes) + extension
    data = lying(integers(bits), bits, room_bytes)[how]
    assert_same_sound(read(riff(chunk(b"fmt ", head), chunk(b"data", data))), tolerance=2.0 ** (2 - bits))


def test_24_bits_in_four_bytes_are_exactly_those_in_three() -> None:
    words = integers(24)
    expected = read(riff(chunk(b"fmt ", fmt(2, RATE_HZ, bits=24)), chunk(b"data", stored(words, 3))))
    for data in lying(words, 24, 4).values():
        head = fmt(2, RATE_HZ, bits=24, block_bytes=8)
        found = read(riff(chunk(b"fmt ", head), chunk(b"data", data)))
        np.testing.assert_array_equal(found.samples, expected.samples)


def test_floats_under_a_header_of_24_bits_in_four_bytes() -> None:
    head = fmt(2, RATE_HZ, bits=24, block_bytes=8)
    for scale in (1, 1 << 15, 1 << 23):
        data = (SOUND * scale).astype("<f4").tobytes()
        assert_same_sound(read(riff(chunk(b"fmt ", head), chunk(b"data", data))))


def test_an_offset_is_not_taken_for_zeros_before_the_sign() -> None:
    words = (integers(12) >> 2) + (1 << 11)  # all above zero, around where a negative number of 12 bits would begin
    head = fmt(2, RATE_HZ, bits=12, block_bytes=4)
    recording = read(riff(chunk(b"fmt ", head), chunk(b"data", stored(words, 2))))
    np.testing.assert_array_equal(recording.samples, words)


@pytest.mark.parametrize("bits, block_bytes, byte_rate", [
    (16, 0, 0), (16, 0, 7), (16, 3, RATE_HZ * 4), (16, 1, RATE_HZ * 4), (16, 2, RATE_HZ * 4), (16, 6, RATE_HZ * 4),
    (16, 8, RATE_HZ * 4), (16, 4, 0), (24, 0, 0), (24, 4, RATE_HZ * 6), (24, 8, RATE_HZ * 6), (32, 5, RATE_HZ * 8),
])
def test_a_block_align_that_is_wrong_is_put_right_where_the_byte_rate_agrees_with_the_bits(
    bits: int, block_bytes: int, byte_rate: int
) -> None:
    head = fmt(2, RATE_HZ, bits=bits, block_bytes=block_bytes, byte_rate=byte_rate)
    assert_same_sound(read(riff(chunk(b"fmt ", head), chunk(b"data", stored(integers(bits), bits // 8)))))


@pytest.mark.parametrize("tag, bits, channels, block_bytes", [
    (1, 16, 2, 2), (1, 16, 2, 3), (1, 16, 2, 6), (1, 16, 1, 4), (1, 16, 1, 1),
    (1, 24, 1, 4), (1, 24, 2, 4), (1, 24, 2, 5),
    (1, 8, 1, 2), (1, 8, 1, 4), (1, 32, 1, 2), (1, 16, 1, 65_535), (3, 32, 1, 2), (3, 32, 2, 4), (3, 64, 1, 4),
])
def test_a_header_that_contradicts_itself_is_refused_with_what_to_do(
    tag: int, bits: int, channels: int, block_bytes: int
) -> None:
    data = np.random.default_rng(5).bytes(9_600)  # in which no way of lying can be made out
    head = fmt(channels, RATE_HZ, tag=tag, bits=bits, block_bytes=block_bytes)
    body = riff(chunk(b"fmt ", head), chunk(b"data", data))
    with pytest.raises(UndecodableAudio, match="contradicts itself.*save the recording"):
        read(body)
    assert decode_in_place(body, max_duration_s=0) is None
