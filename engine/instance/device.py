"""What a device does with batches, and the processor as a device.

A payload is int16 or float32 samples and a factor by which each is multiplied. One shorter than the model's input is
padded with zeros. Payloads are only ever read: after an instance's death another one reads the same bytes again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from engine.shm.batch import Payloads

Compute = Callable[[torch.Tensor], torch.Tensor]


class DeviceBatch(Protocol):
    """One batch on its way through a device: staged, launched, waited for, or discarded at any point of it."""

    def settle(self) -> None:
        """Waits until the payloads are not read any more; before the launch."""

    def launch(self, compute: Compute, positions: Sequence[int] | None) -> None:
        """Computes those at `positions` (None: all); may return long before that is done. Once.

        `compute` makes float32 `[items, *input_shape]` on the device into float32 `[items, classes]` there.
        """

    def wait(self) -> npt.NDArray[np.float32]:
        """What `compute` has made, on the host. Raises what it raised, here or in `launch`."""

    def discard(self) -> None:
        """Gives back what the batch occupies; the payloads are not read any more. Idempotent."""


class Device(Protocol):
    """Where a model computes: one batch at a time, in the order of the launches."""

    @property
    def ahead(self) -> int:
        """How many batches may be staged while another one computes."""

    def stage(self, payloads: Payloads) -> DeviceBatch:
        """Begins to bring payloads to the device. They must stay as they are until the batch is done or settled."""

    def use_mapping(self, mapping: npt.NDArray[np.uint8]) -> None:
        """Most payloads will lie in this memory."""

    def release_memory(self) -> None:
        """Gives back what is kept for later of the device's memory."""

    def memory_bytes(self) -> tuple[int, int] | None:
        """In use, by whomever, and in all; None where it has none of its own."""

    def close(self) -> None:
        """Gives the mapping back."""


class HostDevice:
    """For `cpu`: one buffer, filled item by item, reused for every batch; everything happens in the launch."""

    ahead = 0

    def __init__(self, input_shape: tuple[int, ...], max_batch: int) -> None:
        # Said in full: a model may have changed torch's default device.
        self._tensor = torch.zeros((max_batch, *input_shape), dtype=torch.float32, device="cpu")
        self._rows = self._tensor.numpy().reshape(max_batch, -1)

    def stage(self, payloads: Payloads) -> HostBatch:
        return HostBatch(self, payloads)

    def fill(self, payloads: Payloads) -> torch.Tensor:
        """The batch as the model gets it, in the one buffer there is."""
        items = len(payloads.samples)
        rows = self._rows[:items]
        for row, samples in zip(rows, payloads.samples):
            frames = samples.size
            row[:frames] = samples
            if frames < row.size:
                row[frames:] = 0.0
        np.multiply(rows, payloads.factors[:, None], out=rows)
        return self._tensor[:items]

    def use_mapping(self, mapping: npt.NDArray[np.uint8]) -> None:
        """It makes no difference to a processor."""

    def release_memory(self) -> None:
        """There is none but the process's own."""

    def memory_bytes(self) -> tuple[int, int] | None:
        """It has the machine's."""
        return None

    def close(self) -> None:
        """There is nothing to give back."""


class HostBatch:
    """A batch for the processor: payloads until the launch, probabilities from then on."""

    __slots__ = ("_device", "_payloads", "_found")

    def __init__(self, device: HostDevice, payloads: Payloads) -> None:
        self._device = device
        self._payloads = payloads
        self._found: npt.NDArray[np.float32] | None = None

    def settle(self) -> None:
        """Nothing reads payloads between two calls."""

    def launch(self, compute: Compute, positions: Sequence[int] | None) -> None:
        payloads = self._payloads if positions is None else self._payloads.part(positions)
        self._found = compute(self._device.fill(payloads)).numpy()

    def wait(self) -> npt.NDArray[np.float32]:
        assert self._found is not None, "waited for what was not launched"
        return self._found

    def discard(self) -> None:
        """It occupies nothing."""
