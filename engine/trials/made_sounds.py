"""Sounds by the rules of `engine.models`, for whatever rate and length a model hears.

The rules speak of 22,050 Hz. A model of another rate gets half of its sounds resampled, and half as they lie, played
faster or slower: else a detector of bats would hear nothing in the octaves that it is about.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr

from engine.models.labels import PUBLISHED_LABELS
from engine.models.sound_parts import SAMPLE_RATE_HZ
from engine.models.synthesise import synthesise
from engine.trials.base_sounds import Floats

FIRST_SEED = 2_000_000  # behind those that the demo model was trained on and judged by


def made_sounds(each: int, *, first_seed: int, rate_hz: int, frames: int) -> Iterator[Floats]:
    """`each` sounds of every label, float32 `[frames]`, peak at most 1."""
    for seed in range(first_seed, first_seed + each):
        for label in PUBLISHED_LABELS:
            sound = synthesise(label, seed)
            if rate_hz != SAMPLE_RATE_HZ and seed % 2:
                sound = soxr.resample(sound, SAMPLE_RATE_HZ, rate_hz)
            yield _loudest(sound, frames)


def _loudest(sound: Floats, frames: int) -> Floats:
    """The stretch of `frames` with the most energy; a shorter sound again and again."""
    if len(sound) <= frames:
        return np.resize(sound, frames)
    energy = np.concatenate(([0.0], np.cumsum(np.square(sound, dtype=np.float64))))
    start = int(np.argmax(energy[frames:] - energy[:-frames]))
    return sound[start:start + frames]
