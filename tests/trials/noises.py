"""Recordings for trials that are about something else than sounds: those made by rules take seconds each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from tests.trials.models import SAMPLE_RATE_HZ

_RECORDINGS, _RECORDED_S = 6, 8  # windows of half a second: more than those for which some are made


def noises(folder: Path) -> str:
    """A new folder inside `folder`, for the setting calibration_dir."""
    made = folder / "noises"
    made.mkdir()
    for seed in range(_RECORDINGS):
        samples = np.random.default_rng(seed).uniform(-0.5, 0.5, _RECORDED_S * SAMPLE_RATE_HZ)
        soundfile.write(made / f"{seed}.wav", samples, SAMPLE_RATE_HZ)
    return str(made)
