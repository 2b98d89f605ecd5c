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
_PIECES = 4  # of a sound for shorter windows; arbitrary: more of one sound show little more


def made_sounds(each: int, *, first_seed: int, rate_hz: int, frames: int) -> Iterator[Floats]:
    """Pieces float32 `[frames]`, peak at most 1, of `each` sounds of every label."""
    for seed in range(first_seed, first_seed + each):
        for label in PUBLISHED_LABELS:
            sound = synthesise(label, seed)
            if rate_hz != SAMPLE_RATE_HZ and seed % 2:
                sound = np.clip(soxr.resample(sound, SAMPLE_RATE_HZ, rate_hz), -1.0, 1.0)  # filters overshoot
            yield from _loudest(sound, frames)


def _loudest(sound: Floats, frames: int) -> Floats:
    """The pieces with the most energy, `[at most _PIECES, frames]`; a sound that is too short again and again."""
    if len(sound) <= frames:
        return np.resize(sound, (1, frames))
    pieces = sound[:len(sound) // frames * frames].reshape(-1, frames)
    order = np.argsort(-np.square(pieces).sum(axis=1))
    return pieces[order[:_PIECES]]
