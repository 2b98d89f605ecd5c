"""Hundreds of windows out of a few sounds: as they are, then resampled, reversed, shifted and mixed, at many levels.

A window is made anew whenever it is asked for, from its number alone: the same each time, in any process. So 512
windows of a minute take no more memory than the batch that is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from engine.trials.base_sounds import BaseSounds, Floats
from engine.trials.sound_images import image_of

_NOMINAL_HZ = 22_050  # of resampling, where the ratio alone counts
_SPEEDS = (0.8, 1.25)  # as far as individuals of a kind differ in pitch and pace
_QUIETEST_DB = -40.0  # beside the loudest window of a recording
_MIXED_DB = (-20.0, 0.0)


@dataclass(frozen=True, slots=True)
class SoundWindows:
    """`count` windows for a model's input. Invariant: those below `len(sounds)` are its sounds, unchanged."""

    sounds: BaseSounds
    input_shape: tuple[int, ...]
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int] | range | npt.NDArray[np.int64]) -> Floats:
        """float32 `[len(indices), *input_shape]`. Raises BrokenError and OSError as `BaseSounds.read` does."""
        return np.stack([self._window(int(index)) for index in indices])

    def _window(self, index: int) -> Floats:
        rng = np.random.default_rng([self.seed, index])
        sound = self.sounds.read(index) if index < len(self.sounds) else self._varied(rng)
        if is_waveform(self.input_shape):
            return sound.reshape(self.input_shape)
        return image_of(sound, self.input_shape, standardised=bool(rng.integers(2)))

    def _varied(self, rng: np.random.Generator) -> Floats:
        sound = self._another(rng)
        if rng.random() < 0.5:
            sound = sound + np.float32(_factor(rng.uniform(*_MIXED_DB))) * self._another(rng)
        sound = sound / max(1.0, float(np.abs(sound).max()))
        if rng.random() < 0.5:
            sound = sound * np.float32(_factor(rng.uniform(_QUIETEST_DB, 0.0)))
        return sound

    def _another(self, rng: np.random.Generator) -> Floats:
        """One of the sounds at another speed, from another moment on, perhaps backwards."""
        sound = self.sounds.read(int(rng.integers(len(self.sounds))))
        to_hz = round(_NOMINAL_HZ / rng.uniform(*_SPEEDS))
        changed = np.resize(soxr.resample(sound, _NOMINAL_HZ, to_hz), len(sound))  # what is too short goes round
        changed = np.roll(changed, int(rng.integers(len(sound))))
        return changed[::-1] if rng.random() < 0.5 else changed


def is_waveform(input_shape: tuple[int, ...]) -> bool:
    """Whether an input is a waveform, whatever dimensions of size one its model wants around it."""
    return max(input_shape) == math.prod(input_shape)


def _factor(level_db: float) -> float:
    return float(10.0 ** (level_db / 20.0))
