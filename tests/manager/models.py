"""Models for tests of the manager: tiny, with answers that a test can predict, and a gate to hold them in mid-work.

The functions return factories, closures that travel to the instance by value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

FRAMES = 8
HELD = -77.0  # as an item's last number: computed only once the gate is open


def echo(scale: float = 1.0) -> Callable[[], object]:
    """Logits are the first four numbers of the item, times `scale`."""

    def create() -> object:
        import torch

        class Echo(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x[:, :4] * scale

        return Echo()

    return create


def gated(gate: Path) -> Callable[[], object]:
    """As `echo`, but an item that ends in HELD waits until the file `gate` exists, and is noted in `gate`.order."""
    path = str(gate)

    def create() -> object:
        import os
        import time

        import torch

        class Gated(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                while bool((x[:, -1] == -77.0).any()) and not os.path.exists(path):
                    time.sleep(0.002)
                with open(path + ".order", "a") as order:
                    order.writelines(f"{int(row[0])}\n" for row in x if row[-1] == -77.0)
                return x[:, :4]

        return Gated()

    return create


def broken() -> object:
    """A factory that fails."""
    raise RuntimeError("the weights are missing")


def softmax(numbers: Sequence[float]) -> list[float]:
    """What the instance makes of logits."""
    exponentials = [math.exp(number - max(numbers)) for number in numbers]
    return [value / sum(exponentials) for value in exponentials]
