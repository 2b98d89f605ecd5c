"""A model of a thousand classes that costs next to nothing: what it shows is the formatting of answers."""

from __future__ import annotations

import torch

CLASSES = 1_000
RATE_HZ = 22_050


class ManyClasses(torch.nn.Module):
    """One second of sound; the logit of a class is one of its samples."""

    input_shape = (RATE_HZ,)
    sample_rate_hz = RATE_HZ
    segment_s = 1.0
    labels = tuple(f"class_{number:04d}" for number in range(CLASSES))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return 4.0 * waveform[:, ::22][:, :CLASSES]


def many_classes() -> torch.nn.Module:
    """The factory for `model_factory`."""
    return ManyClasses()
