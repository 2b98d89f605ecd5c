"""Files of other depths are split as pydub splits them when it reads them itself."""

from __future__ import annotations

import numpy as np
import pytest

from frontend.audio.decode import Recording, decode
from frontend.audio.segment import segment_recording
from frontend.audio.silence import MeasuredSound, loud_chunks, split_on_silence
from tests.audio import pydub_oracle as oracle
from tests.audio.sounds import Array, chunk, encoded, fmt, noise, riff
from tests.audio.test_silence import bursts

FULL_SCALE = {8: 128, 24: 1 << 31, 32: 1 << 31}


def wav_of_8_bits(samples: Array, rate_hz: int) -> bytes:
    """int16 `[frames, channels]` brought down to unsigned bytes."""
    data = ((samples >> 8) + 128).astype(np.uint8).tobytes()
    return riff(chunk(b"fmt ", fmt(samples.shape[1], rate_hz, bits=8)), chunk(b"data", data))


def read(body: bytes) -> Recording:
    return decode(body, max_duration_s=0, max_decoded_bytes=0)


def assert_split_like_pydub(body: bytes, bits: int, *, length_ms: int = 8_000) -> int:
    """Compares samples, milliseconds and what is dropped; returns the number of chunks."""
    recording = read(body)
    segment = oracle.normalised(oracle.segment_of_file(body))
    loudness = MeasuredSound(recording.samples, recording.sample_rate_hz, has_8_bits=recording.has_8_bits)
    if bits == 8:  # beyond 24 bits float32 keeps less than pydub does
        np.testing.assert_array_equal(loudness.samples * FULL_SCALE[bits], oracle.array_of(segment))
    expected = oracle.chunks_of(segment, length_ms=length_ms)
    found = split_on_silence(loudness)
    lengths = [loudness.length_ms(loudness.frame_at(c.end_ms) - loudness.frame_at(c.start_ms)) for c in found]
    assert lengths == [c.length_ms for c in expected]
    kept = [c for c in expected if c.kept]
    placed = loud_chunks(loudness, length_ms)
    assert [c.total_frames for c in placed] == [len(c.padded) for c in kept]
    for ours, theirs in zip(placed, kept):
        whole = np.zeros(theirs.padded.shape)
        whole[ours.lead_frames:ours.lead_frames + len(ours.samples)] = ours.samples
        stored_bits = 16 if bits == 8 and ours.is_padded else 8 if bits == 8 else 32
        np.testing.assert_allclose(whole * 2.0 ** (stored_bits - 1), theirs.padded, rtol=0, atol=(bits > 8) * 4_096)
    return len(expected)


@pytest.mark.parametrize("group", range(2))
def test_8_bits_are_split_as_pydub_splits_them(group: int) -> None:
    split = 0
    for seed in range(group * 9, group * 9 + 9):
        print("seed", seed)
        samples, rate_hz = bursts(seed)
        split += assert_split_like_pydub(wav_of_8_bits(samples, rate_hz), 8) > 1
        assert_split_like_pydub(wav_of_8_bits(samples, rate_hz), 8, length_ms=300)
    assert split > 2


@pytest.mark.parametrize("level_dbfs", np.arange(-37.0, -31.0, 0.6).tolist())
def test_8_bits_at_a_level_of_few_steps(level_dbfs: float) -> None:
    """-35 dBFS are 2.3 steps: whether a chunk stays hangs on how its level is rounded, alone or with silence."""
    samples = noise(22_050 * 2, level_dbfs=level_dbfs, seed=9)
    samples[30_000] = 32_767
    for length_ms in (2_000, 2_001, 8_000):
        assert_split_like_pydub(wav_of_8_bits(samples, 22_050), 8, length_ms=length_ms)


@pytest.mark.parametrize("frames", [1, 22, 6_615, 22_061])
def test_very_short_files_of_8_bits(frames: int) -> None:
    assert_split_like_pydub(wav_of_8_bits(noise(frames, level_dbfs=-6, seed=frames), 22_050), 8)


@pytest.mark.parametrize("bits, subtype", [(24, "PCM_24"), (32, "PCM_32")])
def test_files_of_more_bits_are_split_as_pydub_splits_them(bits: int, subtype: str) -> None:
    for seed in range(50, 54):
        samples, rate_hz = bursts(seed)
        wide = (samples.astype(np.int32) << 16) + np.random.default_rng(seed).integers(0, 1 << 16, samples.shape)
        assert_split_like_pydub(encoded(wide.astype(np.int32), rate_hz, "WAV", subtype), bits)


@pytest.mark.parametrize("mode", ["fixed", "silence"])
def test_8_bits_hold_the_sound_in_both_modes(mode: str) -> None:
    samples = noise(22_050 * 9, level_dbfs=-12, seed=3)
    found = []
    for body in (wav_of_8_bits(samples, 22_050), encoded(samples, 22_050, "WAV", "PCM_16")):
        windows = segment_recording(read(body), sample_rate_hz=22_050, segment_s=8.0, mode=mode, min_window_s=1.0,
                                    max_segments=9)
        scale = 32_768 if windows[0].samples.dtype == np.int16 else 1
        found.append([(w.start_s, w.end_s, w.samples.astype(np.float64) / scale * w.gain) for w in windows])
    assert [piece[:2] for piece in found[0]] == [piece[:2] for piece in found[1]]
    for coarse, fine in zip(found[0], found[1]):
        assert np.corrcoef(coarse[2], fine[2])[0, 1] > 0.999
