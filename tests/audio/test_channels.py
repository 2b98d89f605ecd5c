"""Which channel is heard, and that nothing else changes by it."""

from __future__ import annotations

import numpy as np
import pytest

from frontend.audio.channels import MEAN, chosen_channel, mono
from frontend.audio.decode import Recording
from frontend.audio.segment import Window, segment_recording
from tests.audio.sounds import Array, noise

RATE_HZ = 22_050
MODES = ["fixed", "silence"]


def cut(samples: Array, mode: str, rate_hz: int = RATE_HZ) -> list[Window]:
    recording = Recording(samples, rate_hz, samples.shape[1], "WAV")
    return segment_recording(recording, sample_rate_hz=RATE_HZ, segment_s=8.0, mode=mode, min_window_s=1.0,
                             max_segments=100)


def beside(track: Array, *factors: float) -> Array:
    """`track` times each factor, as channels."""
    return np.stack([np.round(track * factor).astype(np.int16) for factor in factors], axis=1)


def waveform(window: Window) -> Array:
    return window.samples.astype(np.float64) * window.gain / (32_768 if window.samples.dtype == np.int16 else 1)


@pytest.mark.parametrize("factors, channel", [
    ((1, 1), MEAN), ((1, 0.5), MEAN), ((1, 0), MEAN), ((0, 1), MEAN), ((1, -0.5), MEAN), ((1, -0.79), MEAN),
    ((1, -0.81), 1), ((1, -0.97), 1), ((1, -1), 1), ((-0.9, 1), 2), ((0.5, -1, 0.5), 2), ((1, -1, 0), 1),
    ((1, -1, 0.5), MEAN), ((0.2, 1, -1, -0.2), 2), ((0,) * 8 + (1,), MEAN), ((0,) * 15 + (1,), 16),
])
@pytest.mark.parametrize("offset", [0, 3_000])
def test_a_channel_is_heard_alone_where_the_mean_is_20_db_below_it(
    factors: tuple[float, ...], channel: int, offset: int
) -> None:
    samples = beside(noise(40_000, level_dbfs=-20, seed=31)[:, 0], *factors)
    samples[:, 0] += offset  # an offset is no level, neither for a channel nor for the mean
    assert chosen_channel(samples) == channel
    assert chosen_channel(samples.astype(np.float32) / 32_768) == channel


@pytest.mark.parametrize("samples", [
    np.zeros((100, 2), np.int16), np.full((100, 3), -7, np.int16), np.full((1, 2), 0.5, np.float32),
    np.array([[2.0**40, -(2.0**40)]] * 9, np.float32), noise(100),
], ids=["zeros", "a constant", "one frame", "large constants", "mono"])
def test_where_there_is_nothing_to_choose_it_is_the_mean(samples: Array) -> None:
    assert chosen_channel(samples) == MEAN


def test_whether_a_sound_cancels_is_asked_of_the_whole_recording() -> None:
    track = noise(8 * RATE_HZ, level_dbfs=-12, seed=32)[:, 0]
    quiet = noise(8 * RATE_HZ, level_dbfs=-60, seed=33)[:, 0]
    samples = np.concatenate([beside(track, 1, -1), beside(quiet, 1, 1)])  # in the second window the mean would do
    assert [window.channel for window in cut(samples, "fixed")] == [1, 1]
    np.testing.assert_array_equal(cut(samples, "fixed")[1].samples, quiet)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factors", [(1, -1), (-1, 1), (1, -0.97), (1, -1, 0.001)])
def test_channels_of_opposite_phase_are_heard(factors: tuple[float, ...], mode: str) -> None:
    track = noise(8 * RATE_HZ, level_dbfs=-12, seed=34)[:, 0]
    (alone,), (window,) = cut(track[:, np.newaxis], mode), cut(beside(track, *factors), mode)
    assert window.channel == 1
    assert window.samples.dtype == np.int16 and window.samples.flags.c_contiguous
    assert np.corrcoef(waveform(alone), waveform(window))[0, 1] ** 2 > 0.9999
    assert np.abs(waveform(window)).max() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_at_another_rate_and_in_float_they_are_heard_too(mode: str) -> None:
    track = noise(4 * 48_000, level_dbfs=-12, seed=35)[:, 0]
    samples = beside(track, 0.5, -0.5).astype(np.float32) / 32_768
    (window,) = cut(samples, mode, 48_000)
    assert window.channel == 1
    assert np.abs(waveform(window)).max() > 0.5


@pytest.mark.parametrize("mode", MODES)
def test_the_mean_is_what_it_always_was(mode: str) -> None:
    samples = noise(4 * RATE_HZ, channels=3, level_dbfs=-12, seed=36)
    (window,) = cut(samples, mode)
    assert window.channel == MEAN
    expected = (samples[:, 0].astype(np.float32) + samples[:, 1] + samples[:, 2]) * np.float32(1 / 3 / 32_768)
    np.testing.assert_array_equal(mono(samples, MEAN), expected)
    if mode == "fixed":
        np.testing.assert_array_equal(window.samples, expected)
