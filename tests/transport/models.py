"""A model that a test holds up: it waits for a file whenever an input begins with a loud sample."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

GATE = "NIGHTSCAN_TEST_GATE"  # path of the file


class Gated(torch.nn.Module):
    """One second at 8,000 Hz; the logits are the mean absolute samples of its two halves."""

    input_shape = (8000,)
    sample_rate_hz = 8000
    segment_s = 1.0
    peak_normalise = False
    labels = ("first", "second")

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        if bool((waveform[:, 0] > 0.5).any()):
            gate = Path(os.environ[GATE])
            while not gate.exists():
                time.sleep(0.01)
        return waveform.abs().reshape(len(waveform), 2, -1).mean(dim=2)


def gated() -> torch.nn.Module:
    """The factory for `model_factory`."""
    return Gated()


def gated_at_start() -> torch.nn.Module:
    """A factory that waits for the file itself: an engine that is starting for as long as a test wants."""
    gate = Path(os.environ[GATE])
    while not gate.exists():
        time.sleep(0.01)
    return Gated()
