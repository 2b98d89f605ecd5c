"""A network under ONNX Runtime, its front under torch. Imports some 30 MB: only for who computes with it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm, Precision
from engine.models.foreign import blaming
from engine.models.onnx_session import OnnxSession
from engine.runtimes.split import empty


class OnnxRuntime:
    """Owns the session; the weights are in it alone."""

    def __init__(
        self, form: ModelForm, front: nn.Module | None, network: nn.Module, path: Path, *, threads: int
    ) -> None:
        """`path` holds what `network` computes. Raises FormUnavailable."""
        if form.precision not in (Precision.FP32, Precision.INT8):
            raise FormUnavailable(f"ONNX Runtime computes no {form.precision.value} on a processor")
        self.form = form
        self._front = front
        self._spare: nn.Module | None = network
        self._bytes = path.stat().st_size
        with blaming(lambda what: f"ONNX Runtime cannot read {path}: {what}", FormUnavailable):
            self._session = OnnxSession(path, threads=threads)
        inputs, outputs = self._session.inputs, self._session.outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise FormUnavailable(f"{path} has {len(inputs)} inputs, {len(outputs)} outputs")
        self._output = outputs[0].name

    def __call__(self, batch: Tensor) -> Tensor:
        given = batch if self._front is None else self._front(batch)
        # Contiguous memory of numpy is read where it lies, and what comes back is not copied either.
        return torch.from_numpy(self._session.run(self._output, given.contiguous().numpy()))

    def let_go(self) -> None:
        if self._spare is not None:
            empty(self._spare)
            self._spare = None

    def memory_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """The session goes with the last reference to it."""
