"""Forms of a model that must not serve, each broken in one way that happens: for the gate to refuse."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def noisy(network: nn.Module, share: float, *, seed: int = 0) -> nn.Module:
    """The network with noise in every weight, `share` of the deviation of its tensor."""
    noise = torch.Generator().manual_seed(seed)
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for weights in changed.parameters():
            if weights.numel() > 1:
                weights.add_(share * weights.std() * torch.randn(weights.shape, generator=noise))
    return changed


class SwappedClasses(nn.Module):
    """The network with two of its classes under each other's number."""

    def __init__(self, network: nn.Module, first: int, second: int) -> None:
        super().__init__()
        self._network, self._swapped = network, (first, second)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images)
        order = list(range(logits.shape[1]))
        first, second = self._swapped
        order[first], order[second] = second, first
        return logits[:, order]


class RightOnlyAlone(nn.Module):
    """The network of the first item, for every item of the batch: what an export with a frozen batch size may be."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images[:1])
        return logits.expand(images.shape[0], -1).clone()
