"""Splitting on silence gives pydub's numbers: the same samples, the same milliseconds, the same chunks dropped."""

from __future__ import annotations


import numpy as np
import pytest

from frontend.audio.decode import Recording, decode
from frontend.audio.segment import segment_recording
from frontend.audio.silence import MeasuredSound, loud_chunks, split_on_silence
from tests.audio import pydub_oracle as oracle
from tests.audio.sounds import Array, encoded, noise
from tests.support.shared import NIGHTS, REAL, Night

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
SIGNALS = 320
GROUPS = 10


def bursts(seed: int) -> tuple[Array, int]:
    """Bursts between gaps that are about as long and about as quiet as a silence has to be; the peak at any level."""
    random = np.random.default_rng(seed)
    rate_hz = int(random.choice(RATES_HZ))
    channels = int(random.integers(1, 3))
    peak_dbfs = random.uniform(-20, 0)
    gap_first = int(random.integers(2))
    pieces = []
    for piece in range(int(random.integers(8, 13))):
        is_gap = piece % 2 != gap_first
        level_db = random.uniform(-38, -32) if is_gap else random.uniform(-30, -6)
        frames = int(rate_hz * (random.uniform(0.2, 0.4) if is_gap else random.uniform(0.01, 0.3)))
        made = noise(frames, channels=channels, level_dbfs=peak_dbfs + level_db, seed=int(random.integers(1 << 30)))
        pieces.append(made)
    peak = int(32_767 * 10 ** (peak_dbfs / 20))
    pieces[gap_first][int(random.integers(len(pieces[gap_first]))), 0] = random.choice((-peak, peak))
    return np.concatenate(pieces), rate_hz


def assert_same(samples: Array, rate_hz: int, *, length_ms: int = 8_000) -> int:
    """Compares every chunk; returns how many there are."""
    segment = oracle.normalised(oracle.segment_of(samples, rate_hz))
    loudness = MeasuredSound(samples, rate_hz)
    np.testing.assert_array_equal(loudness.samples, oracle.array_of(segment))
    expected = oracle.chunks_of(segment, length_ms=length_ms)
    found = split_on_silence(loudness)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        start = loudness.frame_at(ours.start_ms)
        assert loudness.length_ms(loudness.frame_at(ours.end_ms) - start) == theirs.length_ms
        ours_samples = loudness.samples[start:loudness.frame_at(ours.end_ms)]
        np.testing.assert_array_equal(ours_samples, theirs.samples[:len(ours_samples)])
        assert not theirs.samples[len(ours_samples):].any()
    kept = [chunk for chunk in expected if chunk.kept]
    placed = loud_chunks(loudness, length_ms)
    assert len(placed) == len(kept)
    for chunk, reference in zip(placed, kept):
        whole = np.zeros((chunk.total_frames, samples.shape[1]), np.int16)
        whole[chunk.lead_frames:chunk.lead_frames + len(chunk.samples)] = chunk.samples
        np.testing.assert_array_equal(whole, reference.padded)
    return len(expected)


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_chunks_of_generated_bursts_are_those_of_pydub(group: int) -> None:
    seeds = range(group * SIGNALS // GROUPS, (group + 1) * SIGNALS // GROUPS)
    split = 0
    for seed in seeds:
        print("seed", seed)
        split += assert_same(*bursts(seed)) > 1
    assert split >= len(seeds) / 2


@pytest.mark.parametrize("night", NIGHTS)
def test_the_chunks_of_a_night_are_those_of_pydub(night: Night) -> None:
    recording = decode(night.content, max_duration_s=600, max_decoded_bytes=0)
    count = assert_same(recording.samples, recording.sample_rate_hz)
    assert count == 1 if night in REAL else count > 0


@pytest.mark.parametrize("seed", range(12))
def test_chunks_longer_than_a_window_keep_their_first_part(seed: int) -> None:
    samples, rate_hz = bursts(1_000 + seed)
    assert_same(samples, rate_hz, length_ms=300)


@pytest.mark.parametrize("frames", [1, 3, 22, 6_614, 6_615, 6_616, 22_050, 22_061])
def test_very_short_recordings(frames: int) -> None:
    assert_same(noise(frames, seed=frames), 22_050)


@pytest.mark.parametrize("level_dbfs", [-35.2, -35.01, -34.99, -34.8])
def test_a_level_at_the_threshold(level_dbfs: float) -> None:
    samples = noise(22_050 * 2, level_dbfs=level_dbfs, seed=7)
    samples[30_000] = 32_767
    assert_same(samples, 22_050, length_ms=2_000)


def test_a_recording_of_24_bits_is_split_like_one_of_32_bits() -> None:
    samples, rate_hz = bursts(4)
    wide = (samples.astype(np.int32) << 16) + 256 * 77
    recording = decode(encoded(wide, rate_hz, "WAV", "PCM_24"), max_duration_s=0, max_decoded_bytes=0)
    expected = oracle.chunks_of(oracle.normalised(oracle.segment_of(wide, rate_hz)))
    loudness = MeasuredSound(recording.samples, rate_hz)
    found = split_on_silence(loudness)
    assert [loudness.frame_at(c.end_ms) - loudness.frame_at(c.start_ms) for c in found] == [
        len(c.samples) for c in expected
    ]
    assert len(loud_chunks(loudness, 8_000)) == sum(c.kept for c in expected)


def test_windows_at_the_models_rate_hold_pydubs_samples_unscaled() -> None:
    samples, _ = bursts(2)
    samples = samples[:, :1]
    windows = segment_recording(
        Recording(samples, 22_050, 1, "WAV"), sample_rate_hz=22_050, segment_s=8.0, mode="silence", min_window_s=1.0,
        max_segments=100,
    )
    kept = [c for c in oracle.chunks_of(oracle.normalised(oracle.segment_of(samples, 22_050))) if c.kept]
    assert len(windows) == len(kept) > 0
    for window, reference in zip(windows, kept):
        assert window.gain == 1.0
        whole = np.zeros(max(len(window.samples), len(reference.padded)), np.int16)
        whole[:len(window.samples)] = window.samples
        np.testing.assert_array_equal(whole[:len(reference.padded)], reference.padded[:, 0])


def test_energies_do_not_depend_on_where_blocks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, rate_hz = bursts(11)
    whole = [(c.start_ms, c.end_ms) for c in split_on_silence(MeasuredSound(samples, rate_hz))]
    monkeypatch.setattr("frontend.audio.silence._BLOCK_FRAMES", 997)
    assert [(c.start_ms, c.end_ms) for c in split_on_silence(MeasuredSound(samples, rate_hz))] == whole
