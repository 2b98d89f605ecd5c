"""A network under OpenVINO, its front under torch. Imports some 50 MB: only for who computes with it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm, Precision
from engine.models.foreign import blaming
from engine.models.quiet_openvino import openvino
from engine.runtimes.split import empty

# What the network may be computed in where its numbers are fp32. Without it OpenVINO takes bf16 where it is there.
_HINTS = {Precision.FP32: "f32", Precision.INT8: "f32", Precision.BF16: "bf16", Precision.FP16: "f16"}


class OpenVinoRuntime:
    """Owns the compiled model; the weights are in it alone."""

    def __init__(
        self, form: ModelForm, front: nn.Module | None, network: nn.Module, path: Path, *, threads: int
    ) -> None:
        """`path` holds what `network` computes. Raises FormUnavailable."""
        self.form = form
        self._front = front
        self._spare: nn.Module | None = network
        self._bytes = path.stat().st_size
        with blaming(lambda what: f"OpenVINO cannot read {path}: {what}", FormUnavailable):
            core = openvino.Core()
            model = core.read_model(path)
            compiled = core.compile_model(model, "CPU", _properties(form, threads))
            self._request = compiled.create_infer_request()
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise FormUnavailable(f"{path} has {len(model.inputs)} inputs, {len(model.outputs)} outputs")

    def __call__(self, batch: Tensor) -> Tensor:
        given = batch if self._front is None else self._front(batch)
        # Contiguous memory of numpy is read where it lies; what comes back is the request's own memory.
        found = self._request.infer([given.contiguous().numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(found[0])

    def let_go(self) -> None:
        if self._spare is not None:
            empty(self._spare)
            self._spare = None

    def memory_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """The compiled model goes with the last reference to it."""


def _properties(form: ModelForm, threads: int) -> dict[str, str | int | bool]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[form.precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # which cores an instance gets is not its own decision
    }
