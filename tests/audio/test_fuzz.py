"""Whatever bytes a client sends: an answer or one of our own errors, within bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CallerError
from frontend.audio.decode import decode, decode_in_place
from frontend.audio.segment import segment_recording
from tests.audio.sounds import Array, chunk, encoded, flac_claiming, fmt, noise, riff, wav

MAX_DURATION_S = 60.0
MAX_DECODED_BYTES = 16 << 20
MEMORY_BYTES = 4 * MAX_DECODED_BYTES + (8 << 20)
MAGICS = [
    b"", b"RIFF\x24\x9c\0\0WAVEfmt \x10\0\0\0\x01\0", b"RF64\xff\xff\xff\xffWAVEds64",
    b"RIFX\0\0\x9c\x40WAVEfmt ",
    b"fLaC\0\0\0\x22", b"OggS\0\x02",
    b"ID3\x04\0\0\0\0\0\0", b"\xff\xfb\x90\x64", b"FORM\0\0\x9c\x40AIFFCOMM",
    b".snd\0\0\0\x18", b"caff\0\1\0\0desc", b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", b"Creative Voice File\x1a",
    b"MATLAB 5.0 MAT-file", b"NIST_1A\n   1024\n",
]
KINDS = [
    ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"),
    ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
    ("AU", "FLOAT"), ("CAF", "PCM_16"), ("W64", "PCM_16"),
]
SOUND = noise(9_000, channels=2, level_dbfs=-12, seed=1)
FILES = [wav(SOUND)] + [encoded(SOUND, 48_000, *kind) for kind in KINDS]
FILES.append(flac_claiming(FILES[7], 1 << 35))
FILES.append(bytes(300) + FILES[10])  # an MP3 stream behind padding
FILES.append(b"ID3\4\0\0\0\0\1\0" + bytes(128) + FILES[0])
FILES.append(FILES[0] + chunk(b"LIST", b"INFO" * 9) + b"TAG" + bytes(125))
for bits, block_bytes, data in ((24, 8, SOUND.astype("<i4")), (12, 4, SOUND >> 4)):
    head = chunk(b"fmt ", fmt(2, 48_000, bits=bits, block_bytes=block_bytes))
    FILES.append(riff(head, chunk(b"data", data.tobytes()), magic=b"BW64"))


def answer(body: bytes) -> None:
    """Decodes and cuts; lets nothing but a refusal of ours pass."""
    try:
        in_place = decode_in_place(body, max_duration_s=MAX_DURATION_S)
        recording = decode(body, max_duration_s=MAX_DURATION_S, max_decoded_bytes=MAX_DECODED_BYTES)
        check(recording.samples, recording.channels)
        assert in_place is None or np.array_equal(in_place.samples, recording.samples)
        for mode in ("fixed", "silence"):
            windows = segment_recording(recording, sample_rate_hz=22_050, segment_s=8.0, mode=mode, min_window_s=1.0,
                                        max_segments=50, max_decoded_bytes=MAX_DECODED_BYTES)
            for window in windows:
                assert 0 < len(window.samples) <= 176_400
                assert np.isfinite(window.samples.astype(np.float64) * window.gain).all()
    except CallerError:
        pass


def check(samples: Array, channels: int) -> None:
    assert samples.shape[0] > 0 and samples.shape[1] == channels
    assert samples.nbytes <= max(MAX_DECODED_BYTES, 1 << 20)


def within_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        answer(body)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32), magic=st.sampled_from(MAGICS))
def test_forty_kilobytes_of_anything(seed: int, magic: bytes) -> None:
    within_memory(magic + np.random.default_rng(seed).bytes(40_000))


@settings(max_examples=400, deadline=None)
@given(
    body=st.sampled_from(FILES),
    changes=st.lists(st.tuples(st.integers(0, 120), st.binary(min_size=1, max_size=8)), max_size=4),
    far=st.lists(st.tuples(st.integers(0, 40_000), st.binary(min_size=1, max_size=64)), max_size=3),
    length_bytes=st.one_of(st.none(), st.integers(0, 40_000)),
)
def test_files_with_changed_headers_and_lengths(body: bytes, changes: list[tuple[int, bytes]],
                                                far: list[tuple[int, bytes]], length_bytes: int | None) -> None:
    changed = bytearray(body)
    for position, value in changes + far:
        if position + len(value) <= len(changed):
            changed[position:position + len(value)] = value
    within_memory(bytes(changed[:length_bytes]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=40))
def test_small_wave_like_bodies(chunks: bytes, data: bytes) -> None:
    answer(b"RIFF\0\0\0\0WAVE" + chunks)
    answer(wav(SOUND)[:36] + chunks + data)
