"""Slots to one batch tensor on the device.

A payload is int16 or float32 and carries a gain: value = sample / 32768 * gain for int16, sample * gain for float32.
A payload shorter than the model's input is padded with zeros. Payloads are only ever read: after an instance's death
another one reads the same bytes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

INT16_SCALE = 1.0 / 32768.0


class Payload(Protocol):
    """What staging needs of a slot."""

    @property
    def payload(self) -> npt.NDArray[np.uint8]: ...
    @property
    def int16(self) -> bool: ...
    @property
    def gain(self) -> float: ...


class Staging(Protocol):
    """Puts payloads, in order, into a float32 batch `[B, *input_shape]` on the model's device."""

    def stage(self, payloads: Sequence[Payload]) -> torch.Tensor: ...


class HostStaging:
    """For `cpu`: one buffer, filled item by item, reused for every batch."""

    def __init__(self, input_shape: tuple[int, ...], max_batch: int) -> None:
        # Said in full: a model may have changed torch's default device.
        self._tensor = torch.zeros((max_batch, *input_shape), dtype=torch.float32, device="cpu")
        self._rows = self._tensor.numpy().reshape(max_batch, -1)

    def stage(self, payloads: Sequence[Payload]) -> torch.Tensor:
        for row, item in zip(self._rows, payloads):
            samples = item.payload.view(np.int16 if item.int16 else np.float32)
            filled = row[: samples.size]
            if item.int16:  # a cast, then a multiply: numpy's buffered both at once takes a fifth longer
                filled[:] = samples
                np.multiply(filled, np.float32(item.gain * INT16_SCALE), out=filled)
            else:
                np.multiply(samples, np.float32(item.gain), out=filled)
            if samples.size < row.size:
                row[samples.size :] = 0.0
        return self._tensor[: len(payloads)]


class CudaStaging:
    """For `cuda:N`: raw bytes go straight from the page-locked slot to the device; scaling happens there.

    The mapping is page-locked once (`cudaHostRegister`) if its pages stay where they are (`Segment.keeps_pages`). If
    not, or where it is refused (a container without the right, a driver that does not take memfd pages), one pinned
    buffer takes the payloads first: a host copy more, same result.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        max_batch: int,
        device: torch.device,
        mapping: npt.NDArray[np.uint8],
        *,
        may_lock: bool,
    ) -> None:
        frames = int(np.prod(input_shape))
        self._input_shape = input_shape
        self._batch = torch.zeros((max_batch, frames), dtype=torch.float32, device=device)
        self._raw = torch.zeros((max_batch, frames), dtype=torch.int16, device=device)
        self.registered = may_lock and _page_lock(mapping)
        pinned = torch.zeros((0 if self.registered else max_batch, 4 * frames), dtype=torch.uint8, device="cpu")
        self._pinned = None if self.registered else pinned.pin_memory()
        self._address = mapping.ctypes.data
        self._mapping = torch.from_numpy(mapping)  # through numpy, which keeps the mapping alive; frombuffer does not

    def stage(self, payloads: Sequence[Payload]) -> torch.Tensor:
        for i, item in enumerate(payloads):
            host = self._host_bytes(i, item.payload)
            row = self._batch[i]
            if item.int16:
                samples = host.view(torch.int16)
                raw = self._raw[i, : samples.numel()].copy_(samples, non_blocking=True)
                torch.mul(raw, item.gain * INT16_SCALE, out=row[: samples.numel()])
            else:
                samples = host.view(torch.float32)
                row[: samples.numel()].copy_(samples, non_blocking=True).mul_(item.gain)
            row[samples.numel() :] = 0.0
        return self._batch[: len(payloads)].view(len(payloads), *self._input_shape)

    def _host_bytes(self, i: int, payload: npt.NDArray[np.uint8]) -> torch.Tensor:
        if self._pinned is None:
            start = payload.ctypes.data - self._address
            return self._mapping[start : start + payload.size]
        pinned = self._pinned[i, : payload.size]
        pinned.numpy()[:] = payload
        return pinned

    def close(self) -> None:
        """Unlocks the mapping, which must happen before it is unmapped."""
        if self.registered:
            torch.cuda.synchronize()
            _cuda_runtime().cudaHostUnregister(self._address)
            self.registered = False


def _page_lock(mapping: npt.NDArray[np.uint8]) -> bool:
    """Whether the driver locked the mapping; portable (flag 1), so that every context of the process may use it."""
    return int(_cuda_runtime().cudaHostRegister(mapping.ctypes.data, mapping.nbytes, 1)) == 0


def _cuda_runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
