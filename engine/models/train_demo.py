"""Trains the demo model, or judges the one that is committed: `python -m engine.models.train_demo [--evaluate]`.

The demo model has the published architecture with a quarter of its channels, and has heard nothing but sounds made by
rules (see synthesise.py): it lets a first run answer without a download, and is no judge of real nights. Seeds are
fixed, so that training again on the same machine gives the same file.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.clock import NS_PER_S, now_ns
from engine.models.catalogue import DEMO_PATH
from engine.models.demo_data import HELD_OUT_SEED, Images, images
from engine.models.labels import PUBLISHED_LABELS
from engine.models.resnet18 import ResNet18
from engine.models.mel import MelSettings

_WIDTH = 16
_SOUNDS_EACH = 500
_HELD_OUT_EACH = 100
_EPOCHS = 9
BATCH = 32
_HIGHEST_RATE = 4e-3
_FRONT_SETTINGS = MelSettings()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _vary(pixels: Tensor) -> Tensor:
    """The same batch of sounds, heard at another moment: turned in time as a ring, and a mel or two up or down."""
    shift = int(torch.randint(pixels.shape[-1], ()))
    return pixels.roll((int(torch.randint(-2, 3, ())), shift), dims=(-2, -1))


def train(network: ResNet18, data: Images, *, epochs: int) -> None:
    """Fits the network in place: AdamW, one cycle of the learning rate, a little label smoothing."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=_HIGHEST_RATE, weight_decay=0.02)
    steps = epochs * -(-len(data.classes) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=_HIGHEST_RATE, total_steps=steps)
    for epoch in range(epochs):
        started_ns, total = now_ns(), 0.0
        network.train()
        for pixels, classes in data.batches(BATCH, torch.randperm(len(data.classes))):
            loss = functional.cross_entropy(network(_vary(pixels)), classes, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item() * len(classes)
        spent_s = (now_ns() - started_ns) / NS_PER_S
        _say(f"epoch {epoch + 1}/{epochs}: loss {total / len(data.classes):.4f}, {spent_s:.0f} s")


@torch.inference_mode()
def confusion(network: nn.Module, data: Images, classes: int) -> Tensor:
    """How often a sound of class i (row) was taken for class j (column): int64 [classes, classes]."""
    network.eval()
    table = torch.zeros(classes, classes, dtype=torch.int64)
    for pixels, truth in data.batches(BATCH, torch.arange(len(data.classes))):
        for row, column in zip(truth.tolist(), network(pixels).argmax(dim=1).tolist()):
            table[row, column] += 1
    return table


def save(network: ResNet18, path: Path) -> None:
    """The weights in half precision, with everything that a loader needs to know beside them."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    preprocessing = {"sample_rate_hz": _FRONT_SETTINGS.sample_rate_hz, "segment_s": 8.0, "peak_normalise": True,
                     "mel": dataclasses.asdict(_FRONT_SETTINGS)}
    torch.save({"state_dict": state, "labels": list(PUBLISHED_LABELS), "preprocessing": preprocessing}, path)


def load(path: Path) -> ResNet18:
    """The network that `save` wrote, in single precision."""
    network = ResNet18(len(PUBLISHED_LABELS), _WIDTH)
    network.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return network


def report(network: nn.Module, data: Images) -> float:
    """Says how often the network is right, by class; returns the share over all."""
    table = confusion(network, data, len(PUBLISHED_LABELS))
    for row, label in enumerate(PUBLISHED_LABELS):
        _say(f"{label:20} {int(table[row, row]):4} of {int(table[row].sum())}   taken for: {table[row].tolist()}")
    right = float(table.diagonal().sum() / table.sum())
    _say(f"held-out accuracy {100 * right:.2f} % of {int(table.sum())} sounds")
    return right


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evaluate", action="store_true", help="judge the committed model instead of training one")
    parser.add_argument("--output", type=Path, default=DEMO_PATH, help="the file to write, or to judge")
    parser.add_argument("--sounds", type=int, default=_SOUNDS_EACH, help="training sounds of each class")
    parser.add_argument("--held-out", type=int, default=_HELD_OUT_EACH, help="held-out sounds of each class")
    parser.add_argument("--epochs", type=int, default=_EPOCHS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if not options.evaluate:
        network = ResNet18(len(PUBLISHED_LABELS), _WIDTH)
        _say(f"making {options.sounds * len(PUBLISHED_LABELS)} sounds")
        data = images(PUBLISHED_LABELS, options.sounds, first_seed=0, settings=_FRONT_SETTINGS)
        train(network, data, epochs=options.epochs)
        save(network, options.output)
    held_out = images(PUBLISHED_LABELS, options.held_out, first_seed=HELD_OUT_SEED, settings=_FRONT_SETTINGS)
    report(load(options.output), held_out)


if __name__ == "__main__":
    main()
