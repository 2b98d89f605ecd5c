"""A spectrogram front and a network as one module: what an instance runs.

Invariant: the state_dict is the network's alone, under the names of the published checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn

from engine.models.resnet18 import ResNet18
from engine.models.mel import MelSettings
from engine.models.spectrogram import SpectrogramFront


class SoundClassifier(nn.Module):
    """Waveforms float32 [B, frames] at the front's sample rate -> logits [B, classes]."""

    def __init__(self, network: ResNet18, settings: MelSettings | None = None) -> None:
        super().__init__()
        self.front = SpectrogramFront(settings)
        self.network = network

    def forward(self, waveforms: Tensor) -> Tensor:
        # One channel in place of three equal ones: see ResNet18.
        logits: Tensor = self.network(self.front.image(waveforms))
        return logits


class ImageClassifier(nn.Module):
    """As a SoundClassifier, for a network that wants all the channels of its images."""

    def __init__(self, network: nn.Module, settings: MelSettings) -> None:
        super().__init__()
        self.front = SpectrogramFront(settings)
        self.network = network

    def forward(self, waveforms: Tensor) -> Tensor:
        logits: Tensor = self.network(self.front(waveforms))
        return logits
