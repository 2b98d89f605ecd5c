"""Nights for the tests: synthesised ones, and real recordings where they lie beside the checkout.

Real ones carry the marker `recorded`, so that what they add can be run by itself.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.workloads import real_recordings
from engine.models.labels import PUBLISHED_LABELS
from engine.models.synthesise import synthesise

RATE_HZ = 22_000  # of common recorders, and not the models' own
DURATION_S = 10
_HISS = 0.003


@dataclass(frozen=True)
class Night:
    """Ten seconds of one: 22,000 Hz, mono, 16 bits. Without a path it is synthesised."""

    name: str
    path: Path | None = None
    label: str = ""
    seed: int = 0

    @property
    def content(self) -> bytes:
        """The WAV file."""
        return _synthesised(self.label, self.seed) if self.path is None else self.path.read_bytes()


MADE = [Night(f"{label}-{seed}", None, label, seed) for seed in (1, 3) for label in PUBLISHED_LABELS][:8]
REAL = [Night(path.stem, path) for path in real_recordings()]
NIGHTS = [
    *(pytest.param(night, id=night.name) for night in MADE),
    *(pytest.param(night, id=night.name, marks=pytest.mark.recorded) for night in REAL),
]
COLLECTIONS = [
    pytest.param(MADE, id="synthesised"),
    *([pytest.param(REAL, id="real", marks=pytest.mark.recorded)] if REAL else []),
]


@functools.lru_cache(maxsize=None)
def _synthesised(label: str, seed: int) -> bytes:
    sounds = np.concatenate((synthesise(label, seed), synthesise(label, seed + 1)))[: RATE_HZ * DURATION_S]
    hiss = np.random.default_rng(seed).normal(0.0, _HISS, len(sounds))  # no night is digitally silent
    file = io.BytesIO()
    soundfile.write(file, np.clip(sounds + hiss, -1.0, 1.0), RATE_HZ, "PCM_16", format="WAV")
    return file.getvalue()
