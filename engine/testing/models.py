"""Small waveform models whose answers a test can predict; real torch modules, served like any other factory.

Each is a factory for `model_factory = engine.testing.models:NAME`. The input is `[B, frames]`; the first sample of
an item can ask for trouble: `FAIL`, `NOT_A_NUMBER`, `DIE` (float32 values no recording holds by chance).
"""

from __future__ import annotations

import os
import signal
import time

import torch

FAIL = -0.8765432
NOT_A_NUMBER = -0.7654321
DIE = -0.6543211
CLASSES = 4


class Loudness(torch.nn.Module):
    """Logits are mean, standard deviation, largest and smallest sample: a different answer for different sound."""

    input_shape = (1600,)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        rows = (waveform.mean(1), waveform.std(1), waveform.amax(1), waveform.amin(1))
        return torch.stack(rows, dim=1)


class Troubled(Loudness):
    """Fails, answers NaN, or dies when an item asks for it."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        first = waveform[:, 0]
        if _any_is(first, DIE):
            os.kill(os.getpid(), signal.SIGKILL)
        if _any_is(first, FAIL):
            raise ValueError("an item asked to fail")
        logits = super().forward(waveform)
        logits[(first - NOT_A_NUMBER).abs() < 1e-6] = torch.nan
        return logits


class Slow(Loudness):
    """Takes `NIGHTSCAN_TEST_SLEEP_S` (0.2) seconds a batch, whatever its size."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        time.sleep(float(os.environ.get("NIGHTSCAN_TEST_SLEEP_S", "0.2")))
        return super().forward(waveform)


def _any_is(values: torch.Tensor, marker: float) -> bool:
    return bool(((values - marker).abs() < 1e-6).any())


def loudness() -> torch.nn.Module:
    return Loudness()


def troubled() -> torch.nn.Module:
    return Troubled()


def slow() -> torch.nn.Module:
    return Slow()


def broken() -> torch.nn.Module:
    """Cannot be made."""
    raise FileNotFoundError("weights.pt is not here")
