"""Windows: where they lie, what they hold, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import AudioTooLong, InvalidField, SilentAudio, UndecodableAudio
from frontend.audio.decode import Recording, decode, decode_in_place
from frontend.audio.resample import frames_after, resample
from frontend.audio.segment import Window, is_quickly_cut, segment_recording
from tests.audio.sounds import Array, encoded, noise, tone, wav
from tests.support.shared import NIGHTS, REAL, Night

RATE_HZ = 22_050
SEGMENT_FRAMES = 176_400


def recording_of(samples: Array, rate_hz: int = RATE_HZ) -> Recording:
    return Recording(samples, rate_hz, samples.shape[1], "WAV")


def cut(recording: Recording, **changes: Any) -> list[Window]:
    wanted = {"sample_rate_hz": RATE_HZ, "segment_s": 8.0, "mode": "fixed", "min_window_s": 1.0, "max_segments": 2_000,
              **changes}
    return segment_recording(recording, **wanted)


def ranges(windows: list[Window]) -> list[tuple[float, float]]:
    return [(window.start_s, window.end_s) for window in windows]


def waveform(window: Window) -> Array:
    scale = 32_768 if window.samples.dtype == np.int16 else 1
    return window.samples.astype(np.float64) / scale * window.gain


@pytest.mark.parametrize("duration_s, overlap_s, expected", [
    (10.0, 0.0, [(0, 8), (8, 10)]),
    (8.0, 0.0, [(0, 8)]),
    (3.5, 0.0, [(0, 3.5)]),
    (16.0, 0.0, [(0, 8), (8, 16)]),
    (16.0, 4.0, [(0, 8), (4, 12), (8, 16)]),
    (17.0, 4.0, [(0, 8), (4, 12), (8, 16), (12, 17)]),
    (3.0, 7.0, [(0, 3)]),
])
def test_fixed_windows(duration_s: float, overlap_s: float, expected: list[tuple[float, float]]) -> None:
    windows = cut(recording_of(noise(int(duration_s * RATE_HZ))), overlap_s=overlap_s)
    assert ranges(windows) == expected
    assert [window.index for window in windows] == list(range(len(expected)))


def test_a_mono_recording_at_the_models_rate_is_not_copied() -> None:
    body = wav(noise(RATE_HZ * 20), RATE_HZ)
    recording = decode(body, max_duration_s=0, max_decoded_bytes=0)
    windows = cut(recording, overlap_s=2.0)
    assert [len(window.samples) for window in windows] == [SEGMENT_FRAMES, SEGMENT_FRAMES, SEGMENT_FRAMES]
    for window in windows:
        assert window.samples.dtype == np.int16
        assert np.shares_memory(window.samples, np.frombuffer(body, np.uint8))
        assert window.samples.flags.c_contiguous
    np.testing.assert_array_equal(windows[1].samples, recording.samples[6 * RATE_HZ:14 * RATE_HZ, 0])


@pytest.mark.parametrize("peak", [1, 100, 32_767, -32_768])
def test_the_gain_brings_the_recordings_peak_to_full_scale(peak: int) -> None:
    samples = np.zeros((RATE_HZ * 10, 1), np.int16)
    samples[::3] = max(1, abs(peak) // 2)
    samples[RATE_HZ * 9] = peak
    first, second = cut(recording_of(samples))
    assert np.abs(waveform(second)).max() == pytest.approx(1.0)
    assert first.gain == second.gain == pytest.approx(32_768 / abs(peak))
    assert cut(recording_of(samples), peak_normalise=False)[0].gain == 1.0


def test_the_peak_is_taken_over_all_channels_and_the_channels_are_averaged() -> None:
    samples = np.zeros((RATE_HZ, 2), np.int16)
    samples[::2, 0], samples[::2, 1] = 8_192, -4_096
    (window,) = cut(recording_of(samples))
    assert window.samples.dtype == np.float32
    np.testing.assert_allclose(waveform(window)[::2], (1.0 - 0.5) / 2)
    assert not waveform(window)[1::2].any()


def test_float_recordings() -> None:
    samples = tone(RATE_HZ * 9, rate_hz=RATE_HZ, tone_hz=500, amplitude=2.5)[:, None]
    windows = cut(recording_of(samples))
    assert np.abs(waveform(windows[0])).max() == pytest.approx(1.0)
    assert len(windows[1].samples) == RATE_HZ


def test_windows_without_signal_are_left_out_and_keep_their_number() -> None:
    samples = noise(RATE_HZ * 32)
    samples[8 * RATE_HZ:16 * RATE_HZ] = 0
    assert [window.index for window in cut(recording_of(samples))] == [0, 2, 3]
    assert [window.index for window in cut(recording_of(samples.astype(np.float32) / 32_768))] == [0, 2, 3]
    samples[16 * RATE_HZ - 1] = 1
    assert [window.index for window in cut(recording_of(samples))] == [0, 1, 2, 3]


def test_windows_without_signal_are_found_before_resampling_blurs_them() -> None:
    samples = noise(22_000 * 32)
    samples[8 * 22_000:16 * 22_000] = 0
    assert [window.index for window in cut(recording_of(samples, 22_000))] == [0, 2, 3]


@pytest.mark.parametrize("mode", ["fixed", "silence"])
@pytest.mark.parametrize("samples", [
    np.zeros((RATE_HZ, 1), np.int16), np.zeros((1, 2), np.float32), np.full((RATE_HZ, 1), 1e-30, np.float32),
    np.full((RATE_HZ, 1), 1e-45, np.float32),
], ids=["int16", "one frame", "rounding", "denormal"])
def test_a_recording_without_signal_is_silent(samples: Array, mode: str) -> None:
    with pytest.raises(SilentAudio):
        cut(recording_of(samples), mode=mode)


def test_a_click_is_silence_to_the_trained_pipeline_and_a_window_to_fixed() -> None:
    samples = np.zeros((RATE_HZ * 3, 1), np.int16)
    samples[RATE_HZ] = 20_000
    with pytest.raises(SilentAudio):
        cut(recording_of(samples), mode="silence")
    assert len(cut(recording_of(samples))) == 1


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_000, 44_100, 48_000, 250_000])
def test_other_rates_are_converted_once_and_stay_in_time(rate_hz: int) -> None:
    samples = (tone(rate_hz * 9, rate_hz=rate_hz, tone_hz=1_000) * 32_767).astype(np.int16)[:, None]
    windows = cut(recording_of(samples, rate_hz), peak_normalise=False)
    assert ranges(windows) == [(0, 8), (8, 9)]
    assert [len(window.samples) for window in windows] == [SEGMENT_FRAMES, RATE_HZ]
    whole = np.concatenate([waveform(window) for window in windows])
    expected = tone(9 * RATE_HZ, rate_hz=RATE_HZ, tone_hz=1_000)
    np.testing.assert_allclose(whole[500:-500], expected[500:-500], atol=1e-4)


@pytest.mark.parametrize("night", NIGHTS)
def test_a_night_of_ten_seconds_has_two_windows(night: Night) -> None:
    recording = decode(night.content, max_duration_s=600, max_decoded_bytes=0)
    windows = cut(recording)
    assert ranges(windows) == [(0, 8), (8, 10)]
    assert [len(window.samples) for window in windows] == [SEGMENT_FRAMES, 44_100]
    peak = max(np.abs(waveform(window)).max() for window in windows)
    assert 0.9 < peak < 1.2  # converting the rate moves a peak
    kept = cut(recording, mode="silence")
    assert all(window.end_s - window.start_s <= 8.0 for window in kept)
    if night in REAL:  # the hum of a real night is one long sound
        assert [(window.start_s, window.end_s, len(window.samples)) for window in kept] == [(0.0, 8.0, SEGMENT_FRAMES)]


def test_a_chunk_of_the_trained_pipeline_is_centred_then_converted() -> None:
    rate_hz = 16_000
    samples = noise(rate_hz * 3, channels=2, level_dbfs=-60, seed=5)
    samples[rate_hz:2 * rate_hz] = noise(rate_hz, channels=2, level_dbfs=-12, seed=6)
    (window,) = cut(recording_of(samples, rate_hz), mode="silence")
    assert window.start_s == pytest.approx(0.85, abs=0.01)
    assert window.end_s == pytest.approx(2.15, abs=0.01)
    assert len(window.samples) == SEGMENT_FRAMES
    energy = np.flatnonzero(np.abs(waveform(window)) > 0.05) / RATE_HZ
    assert energy[0] + energy[-1] == pytest.approx(8.0, abs=0.02)
    assert energy[-1] - energy[0] == pytest.approx(1.0, abs=0.01)


def test_more_windows_than_allowed_are_refused_before_they_are_made() -> None:
    recording = recording_of(noise(RATE_HZ * 24))
    assert len(cut(recording, max_segments=3)) == 3
    with pytest.raises(AudioTooLong, match="4 segments"):
        cut(recording_of(noise(RATE_HZ * 25)), max_segments=3)
    with pytest.raises(AudioTooLong):
        cut(recording, overlap_s=7.99999, max_segments=2_000)
    with pytest.raises(AudioTooLong):
        cut(recording_of(noise(50_000), 1), max_segments=2_000, mode="silence")


@pytest.mark.parametrize("mode", ["fixed", "silence"])
def test_a_low_rate_does_not_buy_memory(mode: str) -> None:
    recording = recording_of(noise(15_000), 1)  # four hours in 30 kB
    with pytest.raises(AudioTooLong, match="memory"):
        cut(recording, mode=mode, max_decoded_bytes=100_000_000)


@pytest.mark.parametrize("overlap_s", [-0.1, 8.0, 9.0, float("nan"), float("inf")])
def test_an_overlap_that_cannot_be(overlap_s: float) -> None:
    with pytest.raises(InvalidField) as refused:
        cut(recording_of(noise(100)), overlap_s=overlap_s)
    assert refused.value.field == "overlap_s"


def test_an_unknown_way_of_cutting() -> None:
    with pytest.raises(InvalidField) as refused:
        cut(recording_of(noise(100)), mode="thirds")
    assert refused.value.field == "segmentation"


def test_what_may_run_on_the_event_loop() -> None:
    def short(body: bytes, **changes: Any) -> bool:
        recording = decode_in_place(memoryview(body), max_duration_s=0)
        how: dict[str, Any] = {"sample_rate_hz": RATE_HZ, "window_frames": SEGMENT_FRAMES, "overlap_s": 0.0,
                               "mode": "fixed", **changes}
        return recording is not None and is_quickly_cut(recording, **how)

    ten_seconds = noise(RATE_HZ * 10)
    assert short(wav(ten_seconds, RATE_HZ))
    assert not short(wav(ten_seconds, RATE_HZ), mode="silence")
    assert not short(wav(ten_seconds, RATE_HZ), max_bytes=1_000)
    assert short(wav(ten_seconds, RATE_HZ), overlap_s=7.5)
    assert not short(wav(ten_seconds, RATE_HZ), overlap_s=7.9)  # 21 windows, 7 MB
    assert not short(wav(ten_seconds, RATE_HZ), overlap_s=8.5)
    assert short(wav(ten_seconds, RATE_HZ), window_frames=RATE_HZ)
    assert not short(wav(ten_seconds, RATE_HZ), window_frames=RATE_HZ // 10)
    assert not short(wav(ten_seconds, 22_000))
    assert not short(wav(noise(1_000, channels=2), RATE_HZ))
    assert not short(encoded(ten_seconds, RATE_HZ, "FLAC", "PCM_16"))
    assert not short(encoded(ten_seconds, RATE_HZ, "WAV", "PCM_24"))
    assert not short(b"")
    with pytest.raises(UndecodableAudio):
        short(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(AudioTooLong):
        decode_in_place(wav(ten_seconds, RATE_HZ), max_duration_s=9)


@pytest.mark.parametrize("from_hz, to_hz", [(22_000, 22_050), (1, 22_050), (768_000, 8_000), (44_099, 44_100)])
def test_resampling_gives_exact_lengths(from_hz: int, to_hz: int) -> None:
    for frames in (1, 7, 1_000):
        converted = resample(np.ones(frames, np.float32), from_hz=from_hz, to_hz=to_hz)
        assert converted.dtype == np.float32
        assert len(converted) == frames_after(frames, from_hz, to_hz) == max(1, int(frames * to_hz / from_hz + 0.5))
