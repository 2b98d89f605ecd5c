"""A loaded model on its device: payloads in, probabilities out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import BrokenError
from engine.forms import Precision
from engine.instance.cuda import CudaDevice
from engine.instance.device import Compute, Device, HostDevice
from engine.models.catalogue import LoadedModel
from engine.models.outputs import checked_logits, doubtful, probabilities_of
from engine.runtimes.contract import Runtime
from engine.runtimes.torch_runtime import TorchRuntime
from engine.shm.batch import Payloads
from engine.spec import Activation, ModelDescription

# Largest difference of a probability between batch sizes. float32 sums in another order stay below 1e-4; where numbers
# have eight bits one that lies between two of them becomes the other.
TOLERANCES = {Precision.FP32: 1e-4, Precision.BF16: 1e-2, Precision.FP16: 1e-2, Precision.INT8: 1e-2}


class ModelRunner:
    """Owns what computes a model, and where; computes one batch at a time, in the thread that made it.

    It begins with the eager form. `runtime` and `description` change through `compute_through` alone, before warm-up.
    """

    def __init__(self, loaded: LoadedModel, *, device: str, max_batch: int, place: Device | None = None) -> None:
        """`place`: what stands for `device`. Raises BrokenError where the device does not exist."""
        self.device = _checked_device(device)
        self.max_batch = max_batch
        self.description: ModelDescription = dataclasses.replace(loaded.description, device=device)
        self._activation_chosen = loaded.activation_chosen
        self.runtime: Runtime = TorchRuntime.eager(loaded.module.to(self.device).eval().requires_grad_(False))
        self.place = place or _place(self.device, self.description.input_shape, max_batch)
        self._recording_off = torch.inference_mode()  # once: making one takes longer than entering it

    def use_mapping(self, mapping: npt.NDArray[np.uint8]) -> None:
        """Payloads lie in this memory from now on, whose pages stay where they are."""
        self.place.use_mapping(mapping)

    def compute_through(self, runtime: Runtime, tuning_key: str = "") -> None:
        """In this form of the same model from here on. `tuning_key`: of the result of trials that it is from."""
        self.runtime = runtime
        self.description = self.description.computed_in(runtime.form, tuning_key)

    @property
    def tolerance(self) -> float:
        """By how much a probability may differ between batch sizes: sums in another order are rounded elsewhere."""
        return TOLERANCES[self.runtime.form.precision]

    def try_channels_last(self) -> bool:
        """Lays the weights of convolutions out with their channels last; False, and no change, where that is no use.

        On a CPU oneDNN then computes on activations as they lie instead of reordering them around each convolution: a
        tenth of the time of a ResNet18 (`benchmarks/README.md`). A model that insists on the other layout, by `view`
        for instance, raises RuntimeError when it is run; `channels_first` undoes it.
        """
        return self.device.type == "cpu" and self._lay_out(torch.channels_last)

    def channels_first(self) -> None:
        """Lays the same weights out as torch makes them; no value changes by a bit."""
        self._lay_out(torch.contiguous_format)

    def _lay_out(self, layout: torch.memory_format) -> bool:
        """Whether there are weights of convolutions to lay out; other runtimes lay theirs out as they see fit."""
        return isinstance(self.runtime, TorchRuntime) and self.runtime.lay_out(layout)

    def run(self, payloads: Payloads) -> npt.NDArray[np.float32]:
        """Probabilities `[B, classes]`, float32 on the host.

        Raises UnusableOutput for outputs of another form, and whatever the model raises.
        """
        return self._run(payloads, self.probabilities)

    def doubt(self, payloads: Sequence[Payloads]) -> str:
        """Why the model's outputs for `payloads` and its activation seem not to go together; empty if they do."""
        each = [self._run(one, self._outputs) for one in payloads]
        outputs = torch.from_numpy(np.concatenate(each))
        return doubtful(outputs, self.description.activation, chosen=self._activation_chosen)

    def _run(self, payloads: Payloads, compute: Compute) -> npt.NDArray[np.float32]:
        staged = self.place.stage(payloads)
        try:
            staged.launch(compute, None)
            return staged.wait()
        finally:
            staged.discard()

    def probabilities(self, batch: torch.Tensor) -> torch.Tensor:
        """Float32 `[B, *input_shape]` on the device into float32 `[B, classes]` there. Raises as `run` does."""
        with self._recording_off:
            return probabilities_of(self._logits(batch), self.description.activation)

    def _outputs(self, batch: torch.Tensor) -> torch.Tensor:
        with self._recording_off:
            return probabilities_of(self._logits(batch), Activation.NONE)

    def _logits(self, batch: torch.Tensor) -> torch.Tensor:
        return checked_logits(self.runtime(batch), items=batch.shape[0], classes=self.description.classes)

    def release_memory(self) -> None:
        """Gives back what is kept for later of the device's memory."""
        self.place.release_memory()

    def close(self) -> None:
        """Gives the page-locked mapping back to the driver, and what the runtime holds."""
        self.place.close()
        self.runtime.close()


def _place(device: torch.device, input_shape: tuple[int, ...], max_batch: int) -> Device:
    if device.type == "cuda":
        return CudaDevice(input_shape, max_batch, device)
    return HostDevice(input_shape, max_batch)


def _checked_device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BrokenError(f"device {name}: torch {torch.__version__} sees no CUDA device here; use devices=cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BrokenError(f"device {name}: only {torch.cuda.device_count()} CUDA devices here")
    return device
