"""Several channels -> the one track that the model hears.

Models were trained on the mean of the channels. Where one plug is wired the wrong way round the channels cancel out in
it, and what is left of a loud night is a whisper that normalisation then takes for the recording. So the mean is used
unless it is 20 dB below the loudest channel; then that channel is. One decision holds for a whole recording.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from frontend.audio.sndfile import Samples

MEAN = 0  # channels count from 1
INT16_FULL_SCALE = 32_768.0

_CANCELLED = 0.01  # -20 dB of power
_AS_LOUD = 0.999  # of the highest power; channels that differ by rounding alone are equal, and the first is heard
_BLOCK_FRAMES = 32_768  # bounds the float32 temporaries, and the frames over which float32 sums run


def chosen_channel(samples: Samples) -> int:
    """MEAN, or the number, from 1, of the channel to hear alone. samples: `[frames, channels]`, at least one frame.

    Level means the mean square around the channel's own mean, so that an offset counts for nothing.
    """
    channels = samples.shape[1]
    if channels == 1:
        return MEAN
    powers = _powers(samples)
    highest = float(powers[:channels].max())
    if highest <= 0 or powers[channels] / channels**2 > _CANCELLED * highest:
        return MEAN
    return 1 + int(np.argmax(powers[:channels] >= _AS_LOUD * highest))


def mono(samples: Samples, channel: int) -> Samples:
    """`[frames]`, contiguous: one channel as it was stored, or the mean of several in float32 (full scale 1.0)."""
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    if channel != MEAN:
        return np.ascontiguousarray(samples[:, channel - 1])
    total = samples[:, 0].astype(np.float32)
    for number in range(1, channels):  # a mean along a short last axis is five times as slow
        total += samples[:, number]
    total *= np.float32(1.0 / (channels * full_scale(samples)))
    return total


def full_scale(samples: Samples) -> float:
    """The value of a sample at full scale."""
    return INT16_FULL_SCALE if samples.dtype == np.int16 else 1.0


def _powers(samples: Samples) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The variance of each channel and then that of their sum, in the samples' own unit squared."""
    frames, channels = samples.shape
    first = samples[0].astype(np.float32)[:, np.newaxis]  # most of an offset, which would drown float32 sums
    rows = np.empty((channels + 1, min(frames, _BLOCK_FRAMES)), np.float32)
    sums, squares = np.zeros(channels + 1), np.zeros(channels + 1)
    for start in range(0, frames, _BLOCK_FRAMES):
        block = samples[start:start + _BLOCK_FRAMES].T
        filled = rows[:, :block.shape[1]]
        np.subtract(block, first, out=filled[:-1])
        np.add.reduce(filled[:-1], axis=0, out=filled[-1])
        sums += filled.sum(axis=1)
        squares += [row @ row for row in filled]
    variances: np.ndarray[Any, np.dtype[np.float64]] = squares / frames - np.square(sums / frames)
    return variances
