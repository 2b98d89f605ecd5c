"""Recordings that are converted block by block: the samples are those of the whole, the memory is not."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import soxr

from frontend.audio.decode import Recording
from frontend.audio.resample import frames_after, resample_blocks
from frontend.audio.segment import segment_recording
from frontend.audio.sndfile import BLOCK_FRAMES

MB = 1_000_000
RATES = [(44_100, 22_050), (22_050, 16_000), (48_000, 22_050), (8_000, 22_050), (44_101, 22_050), (384_000, 22_050),
         (12_345, 16_000)]  # fmt: skip


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("frames", [1, BLOCK_FRAMES - 1, BLOCK_FRAMES, BLOCK_FRAMES + 1, 7 * BLOCK_FRAMES + 13])
def test_a_recording_in_blocks_gives_every_sample_of_the_whole(from_hz: int, to_hz: int, frames: int) -> None:
    sound = np.random.default_rng(frames).normal(0, 0.3, frames).astype(np.float32)
    blocks = (sound[start:start + BLOCK_FRAMES] for start in range(0, frames, BLOCK_FRAMES))
    converted = resample_blocks(blocks, frames, from_hz=from_hz, to_hz=to_hz)
    whole = soxr.resample(sound, from_hz, to_hz, quality="HQ")[:frames_after(frames, from_hz, to_hz)]
    assert len(converted) == frames_after(frames, from_hz, to_hz)
    np.testing.assert_array_equal(converted[:len(whole)], whole)
    assert not converted[len(whole):].any()


def test_cutting_a_long_stereo_recording_takes_its_track_and_little_more() -> None:
    rate_hz, frames = 44_100, 5_000_000
    sound = np.random.default_rng(7).integers(-20_000, 20_000, (frames, 2), np.int16)
    recording = Recording(sound, rate_hz, 2, "WAV")
    tracemalloc.start()
    windows = segment_recording(
        recording, sample_rate_hz=22_050, segment_s=8.0, mode="fixed", min_window_s=1.0, max_segments=100
    )
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(windows) == 15 - (frames / rate_hz % 8 < 1)
    assert most_bytes < 2 * frames + 6 * MB  # float32 at half the rate
