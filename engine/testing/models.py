"""Small waveform models whose answers a test can predict; real torch modules, served like any other factory.

Each is a factory for `model_factory = engine.testing.models:NAME`. The input is `[B, frames]`; the first sample of
an item can ask for trouble: `FAIL`, `EXIT`, `NOT_A_NUMBER`, `POISON`, `LOSE_DEVICE`, `DIE` (float32 values no recording
holds by chance).
"""

from __future__ import annotations

import os
import signal
import sys
import time

import torch

FAIL = -0.8765432
EXIT = -0.8543211
NOT_A_NUMBER = -0.7654321
DIE = -0.6543211
POISON = -0.5432111
LOSE_DEVICE = -0.4321111
CLASSES = 4
ROOM_FOR = 2  # items that fit into the memory of `Crowded`


class Loudness(torch.nn.Module):
    """Logits are mean, standard deviation, largest and smallest sample: a different answer for different sound."""

    input_shape = (1600,)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        rows = (waveform.mean(1), waveform.std(1), waveform.amax(1), waveform.amin(1))
        return torch.stack(rows, dim=1)


class Troubled(Loudness):
    """Fails, exits, answers NaN, fails for ever after, or dies when an item asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.poisoned = False

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        first = waveform[:, 0]
        if _any_is(first, DIE):
            os.kill(os.getpid(), signal.SIGKILL)
        self.poisoned = self.poisoned or _any_is(first, POISON)
        if self.poisoned:
            raise ValueError("nothing works any more")
        if _any_is(first, LOSE_DEVICE):
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        if _any_is(first, EXIT):
            sys.exit("an item asked to exit")
        if _any_is(first, FAIL):
            raise ValueError("an item asked to fail")
        logits = super().forward(waveform)
        logits[(first - NOT_A_NUMBER).abs() < 1e-6] = torch.nan
        return logits


class Crowded(Loudness):
    """Once warm, has room for `ROOM_FOR` items; and for none at all once an item has asked to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.room = sys.maxsize

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        if _any_is(waveform[:, 0], FAIL):
            self.room = 0
        if len(waveform) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(waveform)


class Weighted(Loudness):
    """Has weights, which a test can spoil; fails when an item asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(CLASSES))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        if _any_is(waveform[:, 0], FAIL):
            raise ValueError("an item asked to fail")
        return super().forward(waveform) * self.scale


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


def crowded() -> torch.nn.Module:
    return Crowded()


def weighted() -> torch.nn.Module:
    return Weighted()


def slow() -> torch.nn.Module:
    return Slow()


def broken() -> torch.nn.Module:
    """Cannot be made."""
    raise FileNotFoundError("weights.pt is not here")
