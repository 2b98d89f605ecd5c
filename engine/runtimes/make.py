"""From a form, a loaded model and a folder of artefacts to a runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn

from engine.errors import FormUnavailable
from engine.forms import EAGER, GRAPH, ModelForm, Precision, RuntimeName
from engine.models.catalogue import LoadedModel
from engine.runtimes.contract import Runtime
from engine.runtimes.cuda_recorder import CudaRecorder
from engine.runtimes.graph_runtime import GraphRuntime
from engine.runtimes.split import split
from engine.runtimes.torch_runtime import TorchRuntime
from engine.tuning.artefacts import artefact_of


def make_runtime(
    form: ModelForm, loaded: LoadedModel, folder: Path | None, *, threads: int, device: str = "cpu"
) -> Runtime:
    """What computes `loaded` in `form` on `device`; its files are in `folder`.

    The loaded model stays as it is; it has to be on the device already. Raises FormUnavailable where the form cannot be
    had: no file or a damaged one, a runtime that is not installed, a device that it does not know.
    """
    if form == EAGER:
        return TorchRuntime.eager(loaded.module)
    if form.runtime is RuntimeName.TORCH and form.variant == GRAPH:
        return _recorded(form, loaded, device)
    front, network = split(loaded.module, loaded.description.input_shape)
    if form.runtime is RuntimeName.TORCH and hasattr(network, "onnx_path"):
        raise FormUnavailable(f"torch computes no {form.name} of an ONNX file")
    if form.runtime is RuntimeName.TORCH:
        return TorchRuntime.of(form, front, network)
    if device != "cpu":
        raise FormUnavailable(f"{form.name} is for processors, not for {device}")
    if folder is None or not (path := folder / artefact_of(form)).is_file():
        raise FormUnavailable(f"{form.name} needs {artefact_of(form)}, which is not in {folder}")
    return _from_file(form, front, network, path, threads)


def _from_file(
    form: ModelForm, front: nn.Module | None, network: nn.Module, path: Path, threads: int
) -> Runtime:
    # Imported here: an instance needs one of them or none, and either may not be installed.
    try:
        if form.runtime is RuntimeName.ONNXRUNTIME:
            from engine.runtimes.onnx_runtime import OnnxRuntime

            return OnnxRuntime(form, front, network, path, threads=threads)
        from engine.runtimes.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(form, front, network, path, threads=threads)
    except ImportError as error:
        raise FormUnavailable(f"{form.runtime.value} is not installed: {error}") from error


def _recorded(form: ModelForm, loaded: LoadedModel, device: str) -> Runtime:
    """The form without its graphs, recorded."""
    if torch.device(device).type != "cuda":
        raise FormUnavailable(f"{form.name} is for CUDA, not for {device}")
    inner = make_runtime(dataclasses.replace(form, variant=""), loaded, None, threads=1, device=device)
    if form.precision is not Precision.FP32 and isinstance(inner, TorchRuntime):
        inner.lay_out(torch.channels_last)  # before anything is recorded: weights that move afterwards are not found
    return GraphRuntime(form, inner, CudaRecorder(torch.device(device)))
