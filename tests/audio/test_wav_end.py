"""Where a recording ends when the size in its header is not the true one, and what behind it is no sound."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from engine.errors import UndecodableAudio
from frontend.audio.decode import decode, decode_in_place
from tests.audio.sounds import chunk, encoded, fmt, noise, riff, wav

SAMPLES = noise(4_000, seed=21)
DATA = SAMPLES.tobytes()
STATED = len(DATA) // 2
LIST = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 10) + b"a program\0")
ID3_CHUNK = chunk(b"id3 ", b"ID3\4\0\0\0\0\2\0" + b"x" * 255)
ID3V1 = b"TAG" + b"night".ljust(125, b"\0")
APE_ITEMS = struct.pack("<II", 5, 0) + b"Title\0night"
APE_SIZES = struct.pack("<III", 2_000, len(APE_ITEMS) + 32, 1)  # version, bytes from the items to the end, items
APE = b"".join((
    b"APETAGEX", APE_SIZES, struct.pack("<IQ", 0xA0000000, 0), APE_ITEMS,
    b"APETAGEX", APE_SIZES, struct.pack("<IQ", 0x80000000, 0),
))
BEHIND = {
    "chunks": LIST + ID3_CHUNK,
    "one chunk of odd size without padding": b"note" + struct.pack("<I", 3) + b"abc",
    "odd chunk without padding before another": b"note" + struct.pack("<I", 3) + b"abc" + LIST,
    "an ID3v1 tag": ID3V1,
    "an APE tag": APE,
    "an ID3v2 tag": b"ID3\4\0\0\0\0\x10\0" + b"x" * 2_048,
    "chunks and an ID3v1 tag": LIST + ID3V1,
    "zeros": bytes(5_000),
    "chunks and zeros": LIST + bytes(5_000),
    "a checksum": bytes(range(200, 216)),
    "a chunk and a checksum": LIST + bytes(range(200, 216)),
    "another recording": wav(noise(3_000, seed=22)),
}
AT_THE_END = {
    "nothing": b"", "a LIST chunk": LIST, "two chunks": LIST + ID3_CHUNK, "an ID3v1 tag": ID3V1, "an APE tag": APE,
    "a chunk and a tag": LIST + ID3V1,
}


def body_of(stated_bytes: int, behind: bytes = b"", data: bytes = DATA) -> bytes:
    return riff(chunk(b"fmt ", fmt()), b"data" + struct.pack("<I", stated_bytes) + data + behind)


def frames_in(body: bytes) -> int:
    """As decoded, either way, and that these are the samples from the first on."""
    recording = decode(body, max_duration_s=0, max_decoded_bytes=0)
    in_place = decode_in_place(body, max_duration_s=0)
    assert in_place is not None and len(in_place.samples) == len(recording.samples)
    common = min(len(recording.samples), len(SAMPLES))
    np.testing.assert_array_equal(recording.samples[:common], SAMPLES[:common])
    return len(recording.samples)


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_what_stands_behind_a_true_size_is_not_played(behind: bytes) -> None:
    assert frames_in(body_of(len(DATA), behind)) == len(SAMPLES)


@pytest.mark.parametrize("behind", AT_THE_END.values(), ids=AT_THE_END)
@pytest.mark.parametrize("stated_bytes", [STATED, STATED + 1, 2, 0, 0xFFFFFFFF, 0x7FFFFFF0])
def test_a_size_that_is_not_the_true_one_costs_no_sample_and_plays_no_tag(stated_bytes: int, behind: bytes) -> None:
    assert frames_in(body_of(stated_bytes, behind)) == len(SAMPLES)


def test_samples_behind_the_stated_end_that_read_like_a_chunk_are_samples() -> None:
    for stated_bytes in (0, STATED):
        for begin in (b"junk" + struct.pack("<I", 1_000), b"LIST" + struct.pack("<I", 1 << 30)):
            data = DATA[:stated_bytes] + begin + DATA[stated_bytes + 8:]
            recording = decode(body_of(stated_bytes, data=data), max_duration_s=0, max_decoded_bytes=0)
            assert len(recording.samples) == len(SAMPLES)


def test_a_last_chunk_that_was_cut_off_is_not_played() -> None:
    long_chunk = chunk(b"LIST", b"INFO" + bytes(range(256)) * 40)
    whole = riff(chunk(b"fmt ", fmt()), chunk(b"data", DATA), long_chunk)
    assert frames_in(whole[:-4_000]) == len(SAMPLES)


def test_a_few_bytes_behind_the_stated_end_are_no_loss() -> None:
    assert frames_in(body_of(len(DATA) - 1_000)) == len(SAMPLES) - 500


def test_an_empty_data_chunk_before_others_is_empty() -> None:
    with pytest.raises(UndecodableAudio, match="no frame"):
        decode(riff(chunk(b"fmt ", fmt()), chunk(b"data", b""), LIST), max_duration_s=0, max_decoded_bytes=0)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "ULAW"])
def test_other_depths_lose_nothing_to_a_size_that_is_too_small(subtype: str) -> None:
    body = bytearray(encoded((SAMPLES / 32_768).astype(np.float32), 22_050, "WAV", subtype))
    at = body.index(b"data") + 4
    body[at:at + 4] = struct.pack("<I", int.from_bytes(body[at:at + 4], "little") // 3)
    assert len(decode(bytes(body), max_duration_s=0, max_decoded_bytes=0).samples) == len(SAMPLES)


@pytest.mark.parametrize("stated", [len(DATA), 0, STATED, 0xFFFFFFFFFFFFFFFF, 1 << 40])
@pytest.mark.parametrize("data_bytes", [0xFFFFFFFF, 0, len(DATA)])
@pytest.mark.parametrize("magic", [b"RF64", b"BW64", b"RIFF"])
def test_sizes_of_64_bits_are_believed_as_far_as_the_file_bears_them_out(
    magic: bytes, data_bytes: int, stated: int
) -> None:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 10_000, stated, len(SAMPLES), 0))
    for parts in ([sizes, chunk(b"fmt ", fmt())], [chunk(b"fmt ", fmt()), sizes]):
        body = riff(*parts, chunk(b"data", DATA, stated_bytes=data_bytes), magic=magic)
        assert frames_in(body) == len(SAMPLES)


def test_rf64_with_a_table_of_chunk_sizes_and_chunks_behind() -> None:
    table = struct.pack("<QQQI", 10_000, len(DATA), len(SAMPLES), 1) + b"bext" + struct.pack("<Q", 1 << 33)
    for magic in (b"RF64", b"BW64"):
        data = chunk(b"data", DATA, stated_bytes=0xFFFFFFFF)
        assert frames_in(riff(chunk(b"ds64", table), chunk(b"fmt ", fmt()), data, LIST, magic=magic)) == len(SAMPLES)
