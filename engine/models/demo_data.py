"""Synthesised sounds as the network sees them: images and class numbers, made once and kept in memory.

Images come out of the very front that serves, so that nothing lies between training and serving. Invariant: training
and held-out sounds never share a seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from engine.models.mel import MelSettings
from engine.models.spectrogram import SpectrogramFront
from engine.models.synthesise import synthesise

HELD_OUT_SEED = 1_000_000  # held-out sounds have this seed and those above, training sounds those below
FRONT_BATCH = 16


@dataclass(frozen=True, slots=True)
class Images:
    """What a network learns from."""

    pixels: Tensor  # float16 [sounds, 1, height, width]
    classes: Tensor  # int64 [sounds]

    def batches(self, size: int, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """float32 images and their classes, `size` at a time."""
        for chosen in torch.split(order, size):
            yield self.pixels[chosen].float(), self.classes[chosen]


def waveforms(labels: Sequence[str], each: int, *, first_seed: int) -> Iterator[tuple[int, Tensor]]:
    """`each` sounds of every label, class by class in turn: class number, float32 [frames]."""
    for seed in range(first_seed, first_seed + each):
        for number, label in enumerate(labels):
            yield number, torch.from_numpy(synthesise(label, seed))


def _in_batches(items: Iterable[tuple[int, Tensor]]) -> Iterator[list[tuple[int, Tensor]]]:
    source = iter(items)
    while batch := list(islice(source, FRONT_BATCH)):
        yield batch


def images(labels: Sequence[str], each: int, *, first_seed: int, settings: MelSettings) -> Images:
    """`each` images of every label; 100 KB a sound."""
    front = SpectrogramFront(settings)
    pixels, classes = [], []
    with torch.inference_mode():
        for batch in _in_batches(waveforms(labels, each, first_seed=first_seed)):
            pixels.append(front.image(torch.stack([sound for _, sound in batch])).half())
            classes += [number for number, _ in batch]
    return Images(torch.cat(pixels), torch.from_numpy(np.array(classes)))
