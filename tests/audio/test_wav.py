"""Headers as recorders, streams and broken disks write them."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from engine.errors import UndecodableAudio
from frontend.audio.decode import Recording, decode
from frontend.audio.wav import MAX_CHANNELS, MAX_RATE_HZ, is_wave, parse_wav
from tests.audio.sounds import Array, chunk, encoded, fmt, noise, riff, wav

SAMPLES = noise(1_000, seed=1)
DATA = SAMPLES.tobytes()
PCM_SUB_FORMAT = bytes.fromhex("0100000000001000800000aa00389b71")


def read(body: bytes | memoryview) -> Recording:
    return decode(body, max_duration_s=0, max_decoded_bytes=0)


def assert_holds(body: bytes, samples: Array = SAMPLES) -> None:
    recording = read(body)
    assert recording.format == "WAV"
    np.testing.assert_array_equal(recording.samples, samples)


def test_pcm16_is_a_view_of_the_body() -> None:
    body = wav(SAMPLES)
    recording = read(body)
    assert (recording.sample_rate_hz, recording.channels) == (22_050, 1)
    assert recording.samples.dtype == np.int16
    assert recording.duration_s == 1_000 / 22_050
    assert np.shares_memory(recording.samples, np.frombuffer(body, np.uint8))
    assert not recording.samples.flags.writeable


def test_a_body_inside_another_buffer_is_a_view_too_wherever_it_starts() -> None:
    outer = b"x" * 101 + wav(SAMPLES)
    recording = read(memoryview(outer)[101:])
    np.testing.assert_array_equal(recording.samples, SAMPLES)
    assert np.shares_memory(recording.samples, np.frombuffer(outer, np.uint8))


@pytest.mark.parametrize("channels", [2, 5, 32])
def test_channels_are_columns(channels: int) -> None:
    samples = noise(400, channels=channels, seed=2)
    assert_holds(wav(samples), samples)


@pytest.mark.parametrize("stated_bytes", [0, 0xFFFFFFFF, 0x7FFFF000, 2_001, len(DATA)])
def test_a_data_size_that_lies_or_is_unknown_means_up_to_the_end(stated_bytes: int) -> None:
    assert_holds(wav(SAMPLES, stated_bytes=stated_bytes))


@pytest.mark.parametrize("cut_bytes", [1, 2, 3, 999, 1_998])
def test_a_truncated_file_gives_the_whole_frames_that_are_there(cut_bytes: int) -> None:
    assert_holds(wav(SAMPLES)[:-cut_bytes], SAMPLES[:(2_000 - cut_bytes) // 2])


def test_other_chunks_are_walked_over() -> None:
    extra = chunk(b"bext", b"x" * 603) + chunk(b"LIST", b"INFO" * 10)
    body = riff(extra, chunk(b"fmt ", fmt()), chunk(b"fact", bytes(4)), chunk(b"data", DATA), chunk(b"id3 ", b"x" * 9))
    assert_holds(body)


def test_a_chunk_of_odd_size_without_its_padding() -> None:
    assert_holds(riff(chunk(b"fmt ", fmt()), b"odd " + struct.pack("<I", 3) + b"abc", chunk(b"data", DATA)))


def test_a_chunk_that_claims_more_than_the_file_does_not_hide_the_data() -> None:
    body = riff(chunk(b"fmt ", fmt()), chunk(b"LIST", b"INFO" * 3, stated_bytes=0x7000_0000), chunk(b"data", DATA))
    assert_holds(body)


def test_the_size_in_the_riff_header_is_not_believed() -> None:
    for size_bytes in (0, 1, 0xFFFFFFFF):
        body = bytearray(wav(SAMPLES))
        body[4:8] = struct.pack("<I", size_bytes)
        assert_holds(bytes(body))


def test_extensible_with_the_pcm_sub_format() -> None:
    extension = struct.pack("<HHI", 22, 16, 4) + PCM_SUB_FORMAT
    assert_holds(riff(chunk(b"fmt ", fmt(tag=0xFFFE) + extension), chunk(b"data", DATA)))
    assert_holds(encoded(SAMPLES, 22_050, "WAVEX", "PCM_16"))


def test_rf64_takes_its_length_from_the_ds64_chunk() -> None:
    ds64 = struct.pack("<QQQI", 10_000, len(DATA), 1_000, 0)
    tail = chunk(b"LIST", b"INFO" * 50)
    data = chunk(b"data", DATA, stated_bytes=0xFFFFFFFF)
    assert_holds(riff(chunk(b"ds64", ds64), chunk(b"fmt ", fmt()), data, tail, magic=b"RF64"))
    assert_holds(encoded(SAMPLES, 22_050, "RF64", "PCM_16"))


@pytest.mark.parametrize("subtype, step", [("PCM_24", 2**-23), ("PCM_32", 2**-24), ("FLOAT", 0), ("PCM_U8", 2**-7)])
@pytest.mark.parametrize("stated_bytes", [0, 0xFFFFFFFF, 0x7FFFFFF0])
def test_other_depths_survive_a_lying_size_as_well(subtype: str, step: float, stated_bytes: int) -> None:
    values = (SAMPLES / 32_768).astype(np.float32)
    body = bytearray(encoded(values, 22_050, "WAV", subtype))
    header = parse_wav(bytes(body))
    body[header.data_start - 4:header.data_start] = struct.pack("<I", stated_bytes)
    recording = read(bytes(body))
    assert recording.format == "WAV"
    assert recording.samples.dtype == np.float32
    np.testing.assert_allclose(recording.samples, values, atol=step + 1e-7, rtol=0)


@pytest.mark.parametrize("body", [
    riff(),
    riff(chunk(b"fmt ", fmt())),
    riff(chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt()), chunk(b"data", b"")),
    riff(chunk(b"fmt ", fmt()), chunk(b"data", b"x")),
    riff(chunk(b"fmt ", fmt()), chunk(b"data", b""), chunk(b"LIST", b"INFO")),
    riff(chunk(b"fmt ", fmt()[:12]), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(0)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(MAX_CHANNELS + 1)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(65_535)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(rate_hz=0)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(rate_hz=MAX_RATE_HZ + 1)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(rate_hz=0xFFFFFFFF)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(tag=0xBEEF)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(bits=0)), chunk(b"data", DATA)),
    riff(chunk(b"fmt ", fmt(bits=77)), chunk(b"data", DATA)),
    riff(*[chunk(b"junk", b"")] * 100_000),
], ids=lambda body: f"{len(body)} bytes")
def test_what_is_a_wav_file_by_name_only(body: bytes) -> None:
    assert is_wave(body)
    with pytest.raises(UndecodableAudio):
        read(body)


@pytest.mark.parametrize("rate_hz", [1, 8_000, MAX_RATE_HZ])
def test_rates_from_end_to_end_of_the_range(rate_hz: int) -> None:
    assert read(wav(SAMPLES, rate_hz)).sample_rate_hz == rate_hz
