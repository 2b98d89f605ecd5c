"""A module is taken apart where its spectrogram is all that it makes of the sound, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.models.resnet18 import ResNet18
from engine.models.spectrogram import SpectrogramFront
from engine.runtimes.split import split
from tests.runtimes.conftest import CLASSES, FRAMES, MEL, small_module


class Nested(nn.Module):
    """As somebody's factory may build it: the front deeper down, in three channels, with a scale before it."""

    def __init__(self, *, gain: float = 1.0, also_loudness: bool = False, twice: bool = False) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"hear": SpectrogramFront(MEL), "see": ResNet18(CLASSES, width=8)})
        self.gain = gain
        self.also_loudness = also_loudness
        self.twice = twice

    def forward(self, waveforms: Tensor) -> Tensor:
        images = self.parts["hear"](waveforms if self.gain == 1.0 else waveforms * self.gain)
        if self.twice:
            images = images + self.parts["hear"](waveforms)
        logits: Tensor = self.parts["see"](images)
        return logits + waveforms.mean(dim=-1, keepdim=True) if self.also_loudness else logits


@pytest.mark.parametrize("module", [small_module(), Nested().eval()], ids=["ours", "nested"])
@pytest.mark.parametrize("items", [1, 3])
@torch.no_grad()
def test_the_halves_together_are_the_module_bit_by_bit(module: nn.Module, items: int) -> None:
    before = dict(module.named_modules())
    front, network = split(module, (FRAMES,))
    assert front is not None
    batch = torch.randn(items, FRAMES)
    assert torch.equal(network(front(batch)), module(batch))
    assert dict(module.named_modules()) == before, "it is as it was"
    shared = {id(each) for each in network.parameters()}
    assert shared == {id(each) for each in module.parameters()}, "no weight is copied"


@pytest.mark.parametrize(
    "module",
    [Nested(gain=0.5), Nested(also_loudness=True), Nested(twice=True), nn.Linear(FRAMES, CLASSES)],
    ids=["scaled before the front", "hears more than the front", "two calls of the front", "no front"],
)
def test_whoever_makes_more_of_the_sound_stays_whole(module: nn.Module) -> None:
    assert split(module.eval(), (FRAMES,)) == (None, module)


def test_a_module_that_does_not_bear_it_stays_whole() -> None:
    class Asks(Nested):
        def forward(self, waveforms: Tensor) -> Tensor:
            self.parts["hear"].get_buffer("window")
            return super().forward(waveforms)

    module = Asks().eval()
    assert split(module, (FRAMES,)) == (None, module)
