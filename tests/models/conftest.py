"""One thread for torch, as an instance has; and nights as the engine would hand them to a model."""

from __future__ import annotations

import gc
import io
import os

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch import Tensor

from engine.models.catalogue import LoadedModel, load_model
from engine.spec import ModelSpec
from tests.support.shared import COLLECTIONS, Night

# What librosa has numba compile once in each environment, none of it slow here, takes half of the time without this.
os.environ.setdefault("NUMBA_OPT", "0")

FRAMES = 176_400


@pytest.fixture(autouse=True, scope="module")
def quiet_process() -> None:
    """One thread, since a pool that grows during a test looks like a leak of that test; and no garbage in the imports.

    Without freezing what torch and librosa have brought in, the leak guard's collections take longer than most tests.
    """
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=COLLECTIONS)
def night_windows(request: pytest.FixtureRequest) -> Tensor:
    """The first 8 s of every night at 22,050 Hz, peak 1: float32 [nights, 176400]."""
    nights: list[Night] = request.param
    windows = []
    for night in nights:
        samples, rate_hz = soundfile.read(io.BytesIO(night.content), dtype="float32")
        resampled = soxr.resample(samples, rate_hz, 22_050)[:FRAMES]
        windows.append(resampled / np.abs(samples).max())
    return torch.from_numpy(np.stack(windows).astype(np.float32))


@pytest.fixture(scope="session")
def demo() -> LoadedModel:
    """The committed demo model."""
    return load_model(ModelSpec())
