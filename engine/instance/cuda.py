"""`cuda:N` as a device: the next batch is copied there while one computes.

Copies have a stream of their own, the model computes on the current one. Events order the two: a batch that is launched
waits on the device for its copies; the host waits for the copy of the answers, and never for the whole device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import InternalError
from engine.instance.device import Compute
from engine.shm.batch import Payloads

_TYPES = {np.dtype(np.int16): torch.int16, np.dtype(np.float32): torch.float32}


class _Buffer:
    """Room on the device for the payloads of one batch as they are, and for their factors."""

    def __init__(self, max_batch: int, frames: int, device: torch.device) -> None:
        self.raw = torch.zeros((max_batch, 4 * frames), dtype=torch.uint8, device=device)
        self.factors = torch.zeros(max_batch, dtype=torch.float32, device=device)
        self.host_factors = torch.zeros(max_batch, dtype=torch.float32, device="cpu").pin_memory()
        self._host: torch.Tensor | None = None

    def host(self) -> torch.Tensor:
        """As much page-locked memory, for payloads that do not lie in any; made when it is first needed."""
        if self._host is None:
            self._host = torch.zeros(self.raw.shape, dtype=torch.uint8, device="cpu").pin_memory()
        return self._host


class CudaDevice:
    """Raw bytes go straight from the page-locked slots to the device; they are scaled there.

    The mapping is page-locked once (`cudaHostRegister`). Where that is refused (a container without the right, a
    driver that does not take memfd pages) pinned memory takes the payloads first: a host copy more, same result.
    Equation: free buffers + batches staged or launched and not discarded = 1 + ahead.
    """

    ahead = 1

    def __init__(self, input_shape: tuple[int, ...], max_batch: int, device: torch.device) -> None:
        self.input_shape = input_shape
        self.device = device
        self.registered = False
        frames = int(np.prod(input_shape))
        self.scaled = torch.zeros((max_batch, frames), dtype=torch.float32, device=device)  # of the batch that computes
        self._free = [_Buffer(max_batch, frames, device) for _ in range(1 + self.ahead)]
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._copying.wait_stream(torch.cuda.current_stream(device))  # which is still zeroing the buffers
        self._address, self._mapping = 0, torch.empty(0, dtype=torch.uint8, device="cpu")

    def use_mapping(self, mapping: npt.NDArray[np.uint8]) -> None:
        self.registered = _page_lock(mapping)
        if self.registered:
            self._address = mapping.ctypes.data
            self._mapping = torch.from_numpy(mapping)  # through numpy, which keeps it alive; frombuffer does not

    def stage(self, payloads: Payloads) -> CudaBatch:
        """Raises InternalError for payloads of both kinds, or when too many batches are on the device already."""
        kinds = {samples.dtype for samples in payloads.samples}
        if len(kinds) != 1 or not self._free:
            raise InternalError(f"cannot stage payloads of {kinds} with {len(self._free)} buffers free")
        batch = CudaBatch(self, self._free.pop(), _TYPES[kinds.pop()], len(payloads.samples))
        with contextlib.ExitStack() as undo:
            undo.callback(batch.discard)
            try:
                self._copy(payloads, batch)
            finally:
                batch.copied.record(self._copying)  # those that were begun, if not all: `discard` waits for them
            undo.pop_all()
        return batch

    def _copy(self, payloads: Payloads, batch: CudaBatch) -> None:
        buffer = batch.buffer
        row_bytes = self.scaled.shape[1] * batch.kind.itemsize
        with torch.cuda.stream(self._copying):
            for k, samples in enumerate(payloads.samples):
                raw = buffer.raw[k]
                raw[: samples.nbytes].copy_(self._page_locked(buffer, k, samples), non_blocking=True)
                raw[samples.nbytes : row_bytes].zero_()
            factors = buffer.host_factors[: batch.items]
            factors.numpy()[:] = payloads.factors
            buffer.factors[: batch.items].copy_(factors, non_blocking=True)

    def _page_locked(self, buffer: _Buffer, k: int, samples: npt.NDArray[Any]) -> torch.Tensor:
        """The bytes of `samples` where the device can read them by itself: in their slot, or copied there."""
        start = samples.ctypes.data - self._address
        if 0 <= start < self._mapping.numel():
            return self._mapping[start : start + samples.nbytes]
        pinned = buffer.host()[k, : samples.nbytes]
        pinned.numpy()[:] = samples.view(np.uint8)
        return pinned

    def take_back(self, buffer: _Buffer) -> None:
        """For CudaBatch.discard alone. The next copies into the buffer wait for whatever still reads it."""
        self._copying.wait_stream(torch.cuda.current_stream(self.device))
        self._free.append(buffer)

    def release_memory(self) -> None:
        torch.cuda.empty_cache()

    def memory_bytes(self) -> tuple[int, int] | None:
        try:
            free, total = torch.cuda.mem_get_info(self.device)
        except RuntimeError:  # of a batch on its way, which meets it again: there its culprit is found, not here
            return None
        return total - free, total

    def close(self) -> None:
        """Unlocks the mapping, which must happen before it is unmapped."""
        if self.registered:
            torch.cuda.synchronize(self.device)
            _cuda_runtime().cudaHostUnregister(self._address)
            self.registered = False
            self._mapping = torch.empty(0, dtype=torch.uint8, device="cpu")  # which kept the segment mapped


class CudaBatch:
    """One batch in one buffer of the device."""

    def __init__(self, device: CudaDevice, buffer: _Buffer, kind: torch.dtype, items: int) -> None:
        self.buffer = buffer
        self.kind = kind
        self.items = items
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._device = device
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._answers: torch.Tensor | None = None
        self._discarded = False

    def settle(self) -> None:
        self.copied.synchronize()

    def launch(self, compute: Compute, positions: Sequence[int] | None) -> None:
        stream = torch.cuda.current_stream(self._device.device)
        stream.wait_event(self.copied)
        samples = self.buffer.raw.view(self.kind)[: self.items, : self._device.scaled.shape[1]]
        factors = self.buffer.factors[: self.items]
        if positions is not None:
            kept = torch.tensor(positions, device=self._device.device)
            samples, factors = samples[kept], factors[kept]
        batch = torch.mul(samples, factors[:, None], out=self._device.scaled[: len(samples)])
        found = compute(batch.view(len(batch), *self._device.input_shape))
        self._answers = torch.empty(found.shape, dtype=torch.float32, device="cpu", pin_memory=True)
        self._answers.copy_(found, non_blocking=True)
        self._done.record(stream)

    def wait(self) -> npt.NDArray[np.float32]:
        assert self._answers is not None, "waited for what was not launched"
        self._done.synchronize()
        found: npt.NDArray[np.float32] = self._answers.numpy()
        return found

    def discard(self) -> None:
        if not self._discarded:
            self._discarded = True
            self.copied.synchronize()
            self._device.take_back(self.buffer)


def _page_lock(mapping: npt.NDArray[np.uint8]) -> bool:
    """Whether the driver locked the mapping; portable (flag 1), so that every context of the process may use it."""
    return int(_cuda_runtime().cudaHostRegister(mapping.ctypes.data, mapping.nbytes, 1)) == 0


def _cuda_runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
