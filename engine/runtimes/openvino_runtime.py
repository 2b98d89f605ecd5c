"""A network under OpenVINO, its front under torch. Imports some 50 MB: only for who computes with it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm, Precision
from engine.models.foreign import blaming
from engine.models.quiet_openvino import openvino
from engine.runtimes.file_runtime import FileRuntime, check_ends

# What the network may be computed in where its numbers are fp32. Without it OpenVINO takes bf16 where it is there.
_HINTS = {Precision.FP32: "f32", Precision.INT8: "f32", Precision.BF16: "bf16", Precision.FP16: "f16"}


class OpenVinoRuntime(FileRuntime):
    """Owns the compiled model; the weights are in it alone."""

    def __init__(
        self, form: ModelForm, front: nn.Module | None, network: nn.Module, path: Path, *, threads: int
    ) -> None:
        """`path` holds what `network` computes. Raises FormUnavailable."""
        super().__init__(form, front, network, path)
        with blaming(lambda what: f"OpenVINO cannot read {path}: {what}", FormUnavailable):
            core = openvino.Core()
            model = core.read_model(path)
            compiled = core.compile_model(model, "CPU", _properties(form, threads))
            self._request = compiled.create_infer_request()
        check_ends(path, model.inputs, model.outputs)

    def __call__(self, batch: Tensor) -> Tensor:
        # What comes back is the request's own memory.
        found = self._request.infer([self.given(batch)], share_inputs=True, share_outputs=True)
        return torch.from_numpy(found[0])


def _properties(form: ModelForm, threads: int) -> dict[str, str | int | bool]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[form.precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # which cores an instance gets is not its own decision
    }
