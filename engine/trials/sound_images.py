"""Images of sounds, for models whose input is no waveform.

What such a model hears in its deployment is made by its clients, in a way that nobody here knows. So these are
spectrograms in the two scales that are common, values within 0 and 1 or of mean 0 and deviation 1: inputs with the
edges and slopes of real ones, which noise has not. What agrees on them may still differ on the clients' own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_FLOOR = 1e-8  # of power: 80 dB below full scale


def image_of(
    sound: npt.NDArray[np.float32], shape: tuple[int, ...], *, standardised: bool
) -> npt.NDArray[np.float32]:
    """The spectrogram of `[frames]` as float32 of `shape`: rows and columns last, all channels alike."""
    rows, columns = shape[-2:]
    decibels = _spectrogram(sound, rows, columns)
    low, high = float(decibels.min()), float(decibels.max())
    image = (decibels - low) / max(high - low, 1e-6)
    if standardised:
        image = (image - image.mean()) / max(float(image.std()), 1e-6)
    return np.ascontiguousarray(np.broadcast_to(image, shape), np.float32)


def _spectrogram(sound: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[Any]:
    """Power in dB, `[rows, columns]`, low frequencies in the last row."""
    size = min(len(sound), max(16, 2 * rows))
    starts = np.linspace(0, len(sound) - size, columns).astype(np.int64)
    pieces = sound[starts[:, np.newaxis] + np.arange(size)] * np.hanning(size).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(pieces, axis=1)))
    bins = np.linspace(power.shape[1] - 1, 0, rows).astype(np.int64)
    spectrogram: npt.NDArray[Any] = 10.0 * np.log10(power[:, bins].T + _FLOOR)
    return spectrogram
