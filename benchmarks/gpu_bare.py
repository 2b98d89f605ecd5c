"""A bare loop over windows on one device, without serving: what the device does at most.

    python -m benchmarks.gpu_bare --device cuda:0 --batch 32 --seconds 4 --form torch-fp16-graph

Windows lie in page-locked memory; the next batch is copied while one computes, and answers are waited for one batch
late. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.workloads import WORKLOADS
from engine.forms import EAGER, ModelForm
from engine.models.catalogue import load_model
from engine.models.outputs import checked_logits
from engine.runtimes.make import make_runtime
from engine.spec import ModelSource, ModelSpec

_WARM_BATCHES = 10
Compute = Callable[[Tensor], Tensor]


class _Slot:
    """Room for one batch on the host and on the device, and for its answers."""

    def __init__(self, windows: Tensor, classes: int, device: torch.device) -> None:
        self.windows = windows.pin_memory()
        self.batch = torch.empty(windows.shape, device=device)
        self.answers = torch.empty((len(windows), classes)).pin_memory()
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]


class CudaLoop:
    """Two slots by turns."""

    def __init__(self, compute: Compute, windows: Tensor, classes: int, device: torch.device) -> None:
        self._compute = compute
        self._slots = [_Slot(windows, classes, device) for _ in range(2)]
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._turn = 0
        for slot in self._slots:
            slot.done.record()
        self._copy(self._slots[0])

    def step(self) -> None:
        """Launches a batch, copies the next, and waits for the one before."""
        now, other = self._slots[self._turn], self._slots[1 - self._turn]
        stream = torch.cuda.current_stream()
        stream.wait_event(now.copied)
        now.answers.copy_(self._compute(now.batch), non_blocking=True)
        now.done.record(stream)
        other.done.synchronize()
        self._copy(other)
        self._turn = 1 - self._turn

    def _copy(self, slot: _Slot) -> None:
        with torch.cuda.stream(self._copying):
            slot.batch.copy_(slot.windows, non_blocking=True)
            slot.copied.record(self._copying)


@torch.inference_mode()
def windows_per_s(options: argparse.Namespace) -> float:
    workload, device = WORKLOADS[options.workload], torch.device(options.device)
    loaded = load_model(ModelSpec(
        source=ModelSource.FACTORY, location=f"benchmarks.models:{workload.model}",
        sample_rate_hz=workload.sample_rate_hz, segment_s=workload.segment_s,
    ))
    loaded.module.to(device)
    runtime = make_runtime(ModelForm.named(options.form), loaded, options.folder, threads=1, device=options.device)

    def compute(batch: Tensor) -> Tensor:
        return checked_logits(runtime(batch), items=len(batch)).float().softmax(dim=1)

    windows = 0.1 * torch.randn(options.batch, *loaded.description.input_shape)
    step: Callable[[], object] = lambda: compute(windows)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        step = CudaLoop(compute, windows, loaded.description.classes, device).step
    for _ in range(_WARM_BATCHES):
        step()
    batches, began = 0, time.monotonic()
    while time.monotonic() < began + options.seconds:
        step()
        batches += 1
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    rate: float = batches * options.batch / (time.monotonic() - began)
    return rate


def main() -> int:
    options = parse_arguments()
    torch.set_num_threads(1)
    print(json.dumps({"form": options.form, "windows_per_s": windows_per_s(options)}))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_bare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--workload", default="resnet", choices=list(WORKLOADS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--form", default=EAGER.name)
    parser.add_argument("--folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
