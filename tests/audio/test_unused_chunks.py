"""Chunks that no sample depends on cost nobody a recording, whatever they hold and wherever they stand."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from frontend.audio.decode import Recording, decode
from tests.audio.sounds import chunk, encoded, fmt, noise, riff

RATE_HZ = 22_050
SAMPLES = noise(3_000, channels=2, seed=51).astype(np.float32) / 32_768
FLOAT_FMT, FLOAT_DATA = chunk(b"fmt ", fmt(2, tag=3, bits=32)), chunk(b"data", SAMPLES.astype("<f4").tobytes())
UNUSED = {
    "PEAK for one channel of two": chunk(b"PEAK", struct.pack("<IIfI", 1, 1_700_000_000, 0.8, 100)),
    "PEAK of nothing": chunk(b"PEAK", b""),
    "PEAK for nine channels": chunk(b"PEAK", struct.pack("<II", 1, 0) + bytes(8 * 9)),
    "two PEAKs": chunk(b"PEAK", bytes(24)) * 2,
    "a LIST of zeros": chunk(b"LIST", bytes(393_164)),
    "a LIST that is cut short": chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 900) + b"x"),
    "an empty LIST": chunk(b"LIST", b""),
    "a short bext": chunk(b"bext", b"x" * 10),
    "a long bext": chunk(b"bext", b"\xff" * 5_001),
    "a cue of too many points": chunk(b"cue ", struct.pack("<I", 0x7FFFFFFF)),
    "a smpl of too many loops": chunk(b"smpl", bytes(28) + struct.pack("<II", 0xFFFFFFFF, 9)),
    "a fact of nothing": chunk(b"fact", b""),
    "a fact that lies": chunk(b"fact", struct.pack("<I", 7)),
    "an inst, an acid, a cart": chunk(b"inst", b"1") + chunk(b"acid", b"12") + chunk(b"cart", b"123"),
    "iXML, JUNK, PAD and a name that is no text": chunk(b"iXML", b"<") + chunk(b"JUNK", b"") + chunk(b"\1\2\3\4", b"?"),
}


def read(body: bytes) -> Recording:
    return decode(body, max_duration_s=0, max_decoded_bytes=0)


@pytest.mark.parametrize("unused", UNUSED.values(), ids=UNUSED)
def test_a_chunk_that_is_not_used_costs_nobody_a_recording(unused: bytes) -> None:
    for chunks in ((unused, FLOAT_FMT, FLOAT_DATA), (FLOAT_FMT, unused, FLOAT_DATA), (FLOAT_FMT, FLOAT_DATA, unused)):
        np.testing.assert_array_equal(read(riff(*chunks)).samples, SAMPLES)


@pytest.mark.parametrize("unused", UNUSED.values(), ids=UNUSED)
def test_compressed_files_keep_what_their_decoder_needs(unused: bytes) -> None:
    for subtype in ("IMA_ADPCM", "MS_ADPCM", "ULAW"):
        body = encoded(SAMPLES, RATE_HZ, "WAV", subtype)
        at = body.index(b"data")
        np.testing.assert_array_equal(read(body[:at] + unused + body[at:]).samples, read(body).samples)


def test_mp3_inside_a_wave_file() -> None:
    stream = encoded(SAMPLES, RATE_HZ, "MP3", "MPEG_LAYER_III")
    extension = struct.pack("<HHIHHH", 12, 1, 2, 417, 1, 1_393)
    head = chunk(b"fmt ", fmt(2, RATE_HZ, tag=0x55, bits=0, block_bytes=1) + extension)
    recording = read(riff(head, UNUSED["PEAK of nothing"], chunk(b"data", stream)))
    assert recording.format == "WAV"
    np.testing.assert_array_equal(recording.samples, read(stream).samples)


def big_endian(name: bytes, payload: bytes) -> bytes:
    return name + struct.pack(">I", len(payload)) + payload


def test_big_endian_and_other_kinds_of_chains_of_chunks() -> None:
    head = struct.pack(">HHIIHH", 3, 2, RATE_HZ, RATE_HZ * 8, 8, 32)
    peak = big_endian(b"PEAK", bytes(16))
    chunks = big_endian(b"fmt ", head) + peak + big_endian(b"data", SAMPLES.astype(">f4").tobytes())
    rifx = b"RIFX" + struct.pack(">I", 4 + len(chunks)) + b"WAVE" + chunks
    np.testing.assert_array_equal(read(rifx).samples, SAMPLES)
    aiff = encoded(SAMPLES, RATE_HZ, "AIFF", "FLOAT")
    at = aiff.index(b"PEAK")
    np.testing.assert_array_equal(read(aiff[:at] + peak + aiff[at + 8 + aiff[at + 7]:]).samples, SAMPLES)
    caf = encoded(SAMPLES, RATE_HZ, "CAF", "FLOAT")
    at = caf.index(b"peak")
    short = b"peak" + struct.pack(">q", 20) + bytes(20)
    np.testing.assert_array_equal(read(caf[:at] + short + caf[at + 12 + caf[at + 11]:]).samples, SAMPLES)
