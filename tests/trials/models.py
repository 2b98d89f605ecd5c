"""Models for trials: a small one that all forms can be made of, and some that misbehave where one is made."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import Tensor, nn

from engine.models.pipeline import SoundClassifier
from engine.models.resnet18 import ResNet18
from engine.models.mel import MelSettings

SAMPLE_RATE_HZ = 8000
FRAMES = 4000
CLASSES = 4
GREEDY_BYTES = 3 << 30


class Small(SoundClassifier):
    """Half a second of sound to 4 numbers."""

    sample_rate_hz = SAMPLE_RATE_HZ
    segment_s = FRAMES / SAMPLE_RATE_HZ


class Wrapped(nn.Module):
    """A network of one layer, with something that happens while it is exported, and in half precision."""

    sample_rate_hz = SAMPLE_RATE_HZ
    segment_s = FRAMES / SAMPLE_RATE_HZ

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FRAMES, CLASSES)

    def exported(self) -> None:
        """What happens at an export."""

    def halved(self, logits: Tensor) -> Tensor:
        """What becomes of answers in half precision."""
        return logits

    def forward(self, waveforms: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            self.exported()
        logits: Tensor = self.layer(waveforms)
        return self.halved(logits) if logits.dtype == torch.bfloat16 else logits


class HangsAndCrashes(Wrapped):
    """Never comes back from an export, and dies in half precision."""

    def exported(self) -> None:
        if os.fork() == 0:  # something that it leaves behind
            signal.pause()
        time.sleep(3600)

    def halved(self, logits: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGSEGV)
        return logits


class GreedyAndLost(Wrapped):
    """Asks for more memory than there is at an export, and answers nothing finite in half precision."""

    def exported(self) -> None:
        bytearray(GREEDY_BYTES)

    def halved(self, logits: Tensor) -> Tensor:
        return logits * torch.nan


class ForOneItem(Wrapped):
    """Cannot be exported: what it computes depends on numbers."""

    def forward(self, waveforms: Tensor) -> Tensor:
        if float(waveforms.sum()) > 1e30:
            return waveforms[:, :CLASSES]
        return super().forward(waveforms)


def _seeded(make: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return make().eval()


def small() -> nn.Module:
    mel = MelSettings(
        sample_rate_hz=SAMPLE_RATE_HZ, n_fft=128, hop_frames=64, n_mels=24, f_max_hz=None, image_size=(48, 48)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return Small(ResNet18(CLASSES, width=8), mel).eval()


def hangs_and_crashes() -> nn.Module:
    return _seeded(HangsAndCrashes)


def greedy_and_lost() -> nn.Module:
    return _seeded(GreedyAndLost)


def for_one_item() -> nn.Module:
    return _seeded(ForOneItem)


def broken() -> nn.Module:
    raise FileNotFoundError("weights.pt is not here")
