"""A network under ONNX Runtime, its front under torch. Imports some 30 MB: only for who computes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm, Precision
from engine.models.foreign import blaming
from engine.models.quiet_onnxruntime import onnxruntime
from engine.runtimes.split import empty

_ERRORS_ONLY = 3  # severity of what it logs; below it are remarks on graphs that nobody here has drawn


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
            self._session = onnxruntime.InferenceSession(
                str(path), _options(onnxruntime.SessionOptions(), threads), providers=["CPUExecutionProvider"]
            )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise FormUnavailable(f"{path} has {len(inputs)} inputs, {len(outputs)} outputs")
        self._failed = onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException
        self._input, self._output = inputs[0].name, [outputs[0].name]

    def __call__(self, batch: Tensor) -> Tensor:
        given = batch if self._front is None else self._front(batch)
        try:
            # Contiguous memory of numpy is read where it lies, and what comes back is not copied either.
            (found,) = self._session.run(self._output, {self._input: given.contiguous().numpy()})
        except self._failed as error:  # as torch would say it: too little memory is known by kind and words
            raise RuntimeError(str(error)) from error
        return torch.from_numpy(found)

    def let_go(self) -> None:
        if self._spare is not None:
            empty(self._spare)
            self._spare = None

    def memory_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """The session goes with the last reference to it."""


def _options(options: Any, threads: int) -> Any:
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait for the next operator by spinning would take a frontend's time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Memory of intermediate results is kept by the process's own allocator (`engine.instance.allocator`), once.
    options.enable_cpu_mem_arena = False
    return options
