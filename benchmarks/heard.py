"""The windows that forms are compared on as a network gets them: the front, which all forms share, computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.models.outputs import checked_logits, probabilities_of
from engine.runtimes.contract import Runtime
from engine.spec import Activation
from engine.trials.agreement import Compute, Floats
from engine.trials.sound_windows import SoundWindows

_ITEMS = 16  # of one pass through the front


class ImagesOfWindows:
    """Windows after the front: float32 `[len, *shape of an image]`, all in memory."""

    def __init__(self, windows: SoundWindows, front: nn.Module) -> None:
        starts = range(0, len(windows), _ITEMS)
        with torch.inference_mode():
            batches = [windows.batch(range(start, min(start + _ITEMS, len(windows)))) for start in starts]
            self._images = torch.cat([front(torch.from_numpy(batch)) for batch in batches]).numpy()

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Sequence[int] | range | npt.NDArray[np.int64]) -> Floats:
        """float32 `[len(indices), *shape]`."""
        return np.asarray(self._images[np.asarray(indices)])

    def batches(self, size: int, count: int) -> Iterator[Floats]:
        """The first `count` batches."""
        yield from (self._images[start:start + size] for start in range(0, size * count, size))


def probabilities_by(compute: Runtime | nn.Module, activation: Activation) -> Compute:
    """Images `[B, ...]` -> probabilities `[B, classes]`, as an instance gets them out of logits."""

    def computed(images: Floats) -> Floats:
        with torch.inference_mode():
            logits: Tensor = checked_logits(compute(torch.from_numpy(images)), items=len(images))
            return np.asarray(probabilities_of(logits, activation).numpy())

    return computed
