"""A loaded model on its device: payloads in, probabilities out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import BrokenError
from engine.instance.staging import CudaStaging, HostStaging, Payload, Staging
from engine.models.catalogue import LoadedModel
from engine.models.outputs import checked_logits, doubtful, probabilities_of
from engine.spec import Activation, ModelDescription


class ModelRunner:
    """Owns the module on the device; computes one batch at a time, in the thread that made it."""

    def __init__(self, loaded: LoadedModel, *, device: str, max_batch: int) -> None:
        """Raises BrokenError where the device does not exist."""
        self.device = _checked_device(device)
        self.max_batch = max_batch
        self.description: ModelDescription = dataclasses.replace(loaded.description, device=device)
        self._activation_chosen = loaded.activation_chosen
        self._module = loaded.module.to(self.device).eval().requires_grad_(False)
        self._staging: Staging = HostStaging(self.description.input_shape, max_batch)

    def use_mapping(self, mapping: npt.NDArray[np.uint8], *, may_lock: bool) -> None:
        """On CUDA: stage from the segment from now on, out of its own pages where they may be locked."""
        if self.device.type == "cuda":
            shape = self.description.input_shape
            self._staging = CudaStaging(shape, self.max_batch, self.device, mapping, may_lock=may_lock)

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
        """Whether there are weights of convolutions to lay out."""
        weights = [parameter for parameter in self._module.parameters() if parameter.dim() == 4]
        for weight in weights:
            weight.data = weight.data.to(memory_format=layout)
        return bool(weights)

    def run(self, payloads: Sequence[Payload]) -> npt.NDArray[np.float32]:
        """Probabilities `[B, classes]`, float32 on the host.

        Raises UnusableOutput for outputs of another form, and whatever the model raises.
        """
        with torch.inference_mode():  # as a decorator it would be made twice for each batch
            found = probabilities_of(self._logits(payloads), self.description.activation)
            probabilities: npt.NDArray[np.float32] = found.cpu().numpy()
        return probabilities

    @torch.inference_mode()
    def doubt(self, payloads: Sequence[Payload]) -> str:
        """Why the model's outputs for `payloads` and its activation seem not to go together; empty if they do."""
        each = [probabilities_of(self._logits([payload]), Activation.NONE) for payload in payloads]
        return doubtful(torch.cat(each), self.description.activation, chosen=self._activation_chosen)

    def _logits(self, payloads: Sequence[Payload]) -> torch.Tensor:
        output = self._module(self._staging.stage(payloads))
        return checked_logits(output, items=len(payloads), classes=self.description.classes)

    def release_memory(self) -> None:
        """Gives back what torch keeps for later of the device's memory."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Gives the page-locked mapping back to the driver."""
        if isinstance(self._staging, CudaStaging):
            self._staging.close()


def _checked_device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BrokenError(f"device {name}: torch {torch.__version__} sees no CUDA device here; use devices=cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BrokenError(f"device {name}: only {torch.cuda.device_count()} CUDA devices here")
    return device
