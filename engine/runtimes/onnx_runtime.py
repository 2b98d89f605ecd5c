"""A network under ONNX Runtime, its front under torch. Imports some 30 MB: only for who computes with it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm, Precision
from engine.models.foreign import blaming
from engine.models.onnx_session import OnnxSession
from engine.runtimes.file_runtime import FileRuntime, check_ends


class OnnxRuntime(FileRuntime):
    """Owns the session; the weights are in it alone."""

    def __init__(
        self, form: ModelForm, front: nn.Module | None, network: nn.Module, path: Path, *, threads: int
    ) -> None:
        """`path` holds what `network` computes. Raises FormUnavailable."""
        if form.precision not in (Precision.FP32, Precision.INT8):
            raise FormUnavailable(f"ONNX Runtime computes no {form.precision.value} on a processor")
        super().__init__(form, front, network, path)
        with blaming(lambda what: f"ONNX Runtime cannot read {path}: {what}", FormUnavailable):
            self._session = OnnxSession(path, threads=threads)
        inputs, outputs = self._session.inputs, self._session.outputs
        check_ends(path, inputs, outputs)
        self._output = outputs[0].name

    def __call__(self, batch: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(self._output, self.given(batch)))  # what comes back is not copied
