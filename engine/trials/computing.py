"""A form of a model as the trials run it: windows in, what callers would get out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import ConfigError
from engine.forms import EAGER, ModelForm
from engine.models.catalogue import LoadedModel
from engine.models.foreign import blaming
from engine.models.outputs import checked_logits, probabilities_of
from engine.runtimes.contract import Runtime
from engine.runtimes.make import make_runtime
from engine.runtimes.torch_runtime import TorchRuntime
from engine.tuning.order import TrialOrder

Floats = npt.NDArray[np.float32]


class FormUnderTrial:
    """Computes through a runtime as an instance does, in the thread that made it."""

    def __init__(self, loaded: LoadedModel, form: ModelForm, work: Path, order: TrialOrder) -> None:
        """Raises FormUnavailable, and whatever libraries raise."""
        self._description = loaded.description
        self._device = torch.device(order.device)
        loaded.module.to(self._device)
        self._runtime: Runtime = make_runtime(form, loaded, work, threads=order.threads, device=order.device)
        self._recording_off = torch.inference_mode()
        if form == EAGER and self._device.type == "cpu":
            self._lay_out_as_instances_do()

    def __call__(self, batch: Floats) -> Floats:
        """float32 `[B, *input_shape]` -> probabilities `[B, classes]`. Raises what the model and libraries raise."""
        with self._recording_off:
            found = self._runtime(torch.from_numpy(batch).to(self._device))
            logits = checked_logits(found, items=len(batch), classes=self._description.classes)
            return probabilities_of(logits, self._description.activation).cpu().numpy()

    def _lay_out_as_instances_do(self) -> None:
        """With channels last, unless the model does not bear it: what a candidate is faster than is what serves."""
        assert isinstance(self._runtime, TorchRuntime)
        if self._runtime.lay_out(torch.channels_last):
            try:
                with blaming(str):
                    self(np.zeros((1, *self._description.input_shape), np.float32))
            except ConfigError:
                self._runtime.lay_out(torch.contiguous_format)
