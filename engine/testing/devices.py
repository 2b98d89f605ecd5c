"""A device that takes its time: what a GPU does to the order of things, on a machine without one.

Copies and computations are queued where they are asked for and happen as late as is allowed: when somebody waits for
them. Whoever writes into a payload too early, or reads an answer too early, gets what a GPU would give: the wrong one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import InternalError
from engine.instance.device import Compute, HostDevice
from engine.shm.batch import Payloads


class LateDevice:
    """Computes on the CPU, in order, no earlier than it must. Not thread-safe.

    `log` notes each `stage N`, `launch N`, `copy N`, `compute N`, `discard N`: N counts the batches from 0.
    """

    ahead = 1

    def __init__(self, input_shape: tuple[int, ...], max_batch: int) -> None:
        self.log: list[str] = []
        self._free = [HostDevice(input_shape, max_batch) for _ in range(1 + self.ahead)]
        self._queue: deque[tuple[str, Callable[[], None]]] = deque()
        self.batches = 0  # staged so far

    def stage(self, payloads: Payloads) -> LateBatch:
        """Raises InternalError when more batches would be on the device than it has room for."""
        if not self._free:
            raise InternalError("no buffer of the device is free")
        number, self.batches = self.batches, self.batches + 1
        self.log.append(f"stage {number}")
        return LateBatch(self, self._free.pop(), number, payloads)

    def put(self, what: str, action: Callable[[], None]) -> None:
        """Queues an action."""
        self._queue.append((what, action))

    def run_until(self, what: str) -> None:
        """Does everything up to the action of that name; nothing if it is done already."""
        while any(name == what for name, _ in self._queue):
            name, action = self._queue.popleft()
            self.log.append(name)
            action()

    def take_back(self, buffer: HostDevice) -> None:
        """For LateBatch.discard alone."""
        self._free.append(buffer)

    @property
    def idle(self) -> bool:
        """Whether no batch occupies anything."""
        return len(self._free) == 1 + self.ahead and not self._queue

    def use_mapping(self, mapping: npt.NDArray[np.uint8]) -> None:
        """It reads payloads wherever they are."""

    def release_memory(self) -> None:
        """It keeps none."""

    def memory_bytes(self) -> tuple[int, int] | None:
        """It has the machine's."""
        return None

    def close(self) -> None:
        """There is nothing to give back."""


class LateBatch:
    """A batch on a LateDevice."""

    def __init__(self, device: LateDevice, buffer: HostDevice, number: int, payloads: Payloads) -> None:
        self._device = device
        self._buffer = buffer
        self._number = number
        self._payloads = payloads
        self._staged: torch.Tensor | None = None
        self._found: npt.NDArray[np.float32] | None = None
        self._discarded = False
        device.put(f"copy {number}", self._copy)

    def _copy(self) -> None:
        self._staged = self._buffer.fill(self._payloads)

    def settle(self) -> None:
        self._device.run_until(f"copy {self._number}")

    def launch(self, compute: Compute, positions: Sequence[int] | None) -> None:
        def run() -> None:
            assert self._staged is not None, "the copies come before"
            self._found = compute(self._staged if positions is None else self._staged[list(positions)]).numpy()

        self._device.log.append(f"launch {self._number}")
        self._device.put(f"compute {self._number}", run)

    def wait(self) -> npt.NDArray[np.float32]:
        self._device.run_until(f"compute {self._number}")
        assert self._found is not None, "waited for what was not launched"
        return self._found

    def discard(self) -> None:
        if not self._discarded:
            self._discarded = True
            self.settle()
            self._device.log.append(f"discard {self._number}")
            self._device.take_back(self._buffer)
