"""What becomes of the end of a recording, and of stretches in which nothing moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import AudioTooLong, SilentAudio
from frontend.audio.decode import Recording, decode
from frontend.audio.segment import Window, segment_recording
from tests.audio.sounds import Array, encoded, noise, tone, wav

RATE_HZ = 22_050
MODES = ["fixed", "silence"]


def cut(samples: Array, rate_hz: int = RATE_HZ, **changes: Any) -> list[Window]:
    wanted = {"sample_rate_hz": RATE_HZ, "segment_s": 8.0, "mode": "fixed", "min_window_s": 1.0, "max_segments": 100,
              **changes}
    return segment_recording(Recording(samples, rate_hz, samples.shape[1], "WAV"), **wanted)


def ranges(windows: list[Window]) -> list[tuple[float, float]]:
    return [(round(window.start_s, 3), round(window.end_s, 3)) for window in windows]


def seconds(duration_s: float, rate_hz: int = RATE_HZ) -> Array:
    return noise(round(duration_s * rate_hz), seed=41)


@pytest.mark.parametrize("duration_s, overlap_s, expected", [
    (16.002, 0, [(0, 8), (8, 16)]),
    (16.999, 0, [(0, 8), (8, 16)]),
    (17.0, 0, [(0, 8), (8, 16), (16, 17)]),
    (8.5, 0, [(0, 8)]),
    (0.002, 0, [(0, 0.002)]),
    (0.9, 0, [(0, 0.9)]),
    (16.0, 4, [(0, 8), (4, 12), (8, 16)]),  # what is left was in the window before
    (16.002, 4, [(0, 8), (4, 12), (8, 16), (12, 16.002)]),
    (16.002, 0.5, [(0, 8), (7.5, 15.5), (15, 16.002)]),
    (15.9, 0.5, [(0, 8), (7.5, 15.5)]),
    (8.3, 0.5, [(0, 8)]),
    (8.3, 7.5, [(0, 8), (0.5, 8.3)]),
])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_000, 48_000])
def test_a_breath_of_sound_behind_whole_windows_is_no_window(
    duration_s: float, overlap_s: float, expected: list[tuple[float, float]], rate_hz: int
) -> None:
    assert ranges(cut(seconds(duration_s, rate_hz), rate_hz, overlap_s=overlap_s)) == expected


@pytest.mark.parametrize("min_window_s, duration_s, count", [
    (0.0, 8.001, 2), (0.5, 8.49, 1), (0.5, 8.5, 2), (3.0, 10.9, 1), (3.0, 11.0, 2), (4.0, 11.9, 1),
    (600.0, 11.9, 1), (600.0, 12.0, 2), (600.0, 16.0, 2), (600.0, 2.0, 1),
])
def test_min_window_s_says_how_short_a_last_window_may_be_up_to_half_a_window(
    min_window_s: float, duration_s: float, count: int
) -> None:
    assert len(cut(seconds(duration_s), min_window_s=min_window_s)) == count


def test_short_windows_lose_no_more_than_half_of_one() -> None:
    assert ranges(cut(seconds(1.3), segment_s=0.5)) == [(0, 0.5), (0.5, 1), (1, 1.3)]
    assert ranges(cut(seconds(1.2), segment_s=0.5)) == [(0, 0.5), (0.5, 1)]


def test_a_breath_that_holds_the_only_sound_is_kept() -> None:
    samples = seconds(16.5)
    samples[:16 * RATE_HZ] = 0
    (window,) = cut(samples)
    assert (window.index, window.start_s, window.end_s) == (2, 16.0, 16.5)


def test_a_breath_does_not_count_against_the_most_windows() -> None:
    assert len(cut(seconds(24.5), max_segments=3)) == 3
    with pytest.raises(AudioTooLong, match="4 segments"):
        cut(seconds(25), max_segments=3)


def test_the_gain_still_comes_from_the_whole_recording() -> None:
    samples = seconds(8.5) // 4
    samples[-10] = 32_767
    (window,) = cut(samples)
    assert window.gain == pytest.approx(32_768 / 32_767)


CONSTANTS: dict[str, Array] = {
    "int16 -1": np.full((RATE_HZ * 9, 1), -1, np.int16),
    "int16 3,000": np.full((RATE_HZ * 9, 1), 3_000, np.int16),
    "int16 -32,768": np.full((RATE_HZ, 1), -32_768, np.int16),
    "stereo, another in each": np.tile(np.array([[-5, 9_000]], np.int16), (RATE_HZ * 9, 1)),
    "opposite": np.tile(np.array([[-9_000, 9_000]], np.int16), (RATE_HZ, 1)),
    "float": np.full((RATE_HZ * 9, 1), 0.1, np.float32),
    "float stereo": np.tile(np.array([[0.1, -0.7]], np.float32), (RATE_HZ * 9, 1)),
    "float above full scale": np.full((RATE_HZ, 1), 77.7, np.float32),
    "one sample": np.full((1, 1), 9, np.int16),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 48_000])
@pytest.mark.parametrize("samples", CONSTANTS.values(), ids=CONSTANTS)
def test_a_constant_is_silent_whatever_its_value(samples: Array, rate_hz: int, mode: str) -> None:
    with pytest.raises(SilentAudio):
        cut(samples, rate_hz, mode=mode)
    with pytest.raises(SilentAudio):
        cut(samples, rate_hz, mode=mode, peak_normalise=False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("file_format, subtype", [
    ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAV", "ULAW"),
    ("WAV", "ALAW"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("AIFF", "PCM_S8"),
])
def test_a_constant_is_silent_in_every_lossless_format(file_format: str, subtype: str, mode: str) -> None:
    for value in (0.0, 0.3, -0.01):
        body = encoded(np.full((RATE_HZ, 2), value, np.float32), RATE_HZ, file_format, subtype)
        recording = decode(body, max_duration_s=0, max_decoded_bytes=0)
        with pytest.raises(SilentAudio):
            cut(recording.samples, mode=mode)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 48_000])
@pytest.mark.parametrize("as_float", [False, True])
def test_a_window_in_which_nothing_moves_is_left_out(rate_hz: int, as_float: bool) -> None:
    samples = noise(rate_hz * 32, seed=42)
    samples[8 * rate_hz:16 * rate_hz] = 1_234
    samples[24 * rate_hz:] = -5
    if as_float:
        samples = samples.astype(np.float32) / 32_768
    assert [window.index for window in cut(samples, rate_hz)] == [0, 2]


def test_steps_between_windows_are_no_sound() -> None:
    samples = np.repeat(np.array([[100], [-3_000]], np.int16), 8 * RATE_HZ, axis=0)
    with pytest.raises(SilentAudio):
        cut(samples)


@pytest.mark.parametrize("mode", MODES)
def test_a_sound_on_an_offset_is_heard(mode: str) -> None:
    samples = (20_000 + 200 * tone(RATE_HZ * 8, rate_hz=RATE_HZ, tone_hz=700)).astype(np.int16)[:, np.newaxis]
    (window,) = cut(samples, mode=mode)
    assert np.ptp(window.samples) > 0
    samples[:] = 20_000
    samples[RATE_HZ * 4 + 1] = 20_001  # one step, once
    assert len(cut(samples, mode=mode)) == 1


def test_in_a_file_as_it_lies_a_constant_is_silent_too() -> None:
    recording = decode(wav(CONSTANTS["int16 3,000"]), max_duration_s=0, max_decoded_bytes=0)
    with pytest.raises(SilentAudio):
        cut(recording.samples)
