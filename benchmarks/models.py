"""The models of the benchmarks: two sizes, the same numbers wherever they are made.

Factories for `model_factory`, and for the inline app that the engine is compared with. Weights are drawn from a fixed
seed: what a model says is of no interest here, only that every server says the same after the same work.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.workloads import CLASSES
from engine.models.catalogue import load_model
from engine.models.pipeline import SoundClassifier
from engine.models.resnet18 import ResNet18
from engine.spec import ModelSource, ModelSpec

_FRAME = 16  # samples
_SEED = 20_190_522  # arbitrary


class Tiny(nn.Module):
    """Waveforms [B, frames] -> logits [B, 10] from four figures about each sixteenth of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4 * _FRAME, CLASSES)

    def forward(self, waveforms: Tensor) -> Tensor:
        frames = waveforms.view(waveforms.shape[0], -1, _FRAME)  # len() is a number, which an export takes for constant
        figures = (frames.mean(1), frames.std(1), frames.amax(1), frames.amin(1))
        logits: Tensor = self.head(torch.cat(figures, dim=1))
        return logits


def tiny() -> nn.Module:
    """1 s of sound to 10 numbers in 0.2 ms: shows what serving costs."""
    return _seeded(Tiny)


def resnet() -> nn.Module:
    """8 s of sound through the spectrogram front and a ResNet18 of full width: shows what batches bring."""
    return _seeded(lambda: SoundClassifier(ResNet18(CLASSES)))


def demo() -> nn.Module:
    """The model that is shipped: 8 s of sound to six kinds of animals."""
    return load_model(ModelSpec(source=ModelSource.DEMO)).module


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return make().eval()
