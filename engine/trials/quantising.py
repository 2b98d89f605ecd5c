"""The exported network as static INT8: weights by channel, activations by what calibration windows show.

The only module that imports onnx and ONNX Runtime's quantisation, in a process that does nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from engine.forms import ModelForm
from engine.models.catalogue import LoadedModel
from engine.models.quiet_onnxruntime import onnxruntime
from engine.runtimes.split import split
from engine.tuning.candidates import EDGES_FP32
from engine.trials.stage_request import StageRequest
from engine.trials.stored_sounds import sounds_from
from engine.tuning.artefacts import EXPORTED, artefact_of

Floats = npt.NDArray[np.float32]

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_WINDOWS = 32  # to calibrate with: ranges have settled after a dozen
_ITEMS = 4  # of a batch: of each the range of every activation is found
_FOLDED = "folded.onnx"


def quantise(loaded: LoadedModel, request: StageRequest) -> dict[str, Any]:
    """Writes the file that `request.form` needs. Raises whatever ONNX Runtime does, OSError without room."""
    form, work = ModelForm.named(request.form), Path(request.work)
    front, _ = split(loaded.module, loaded.description.input_shape)
    windows = sounds_from(request.sounds).calibration
    batches = (windows.batch(range(start, min(start + _ITEMS, len(windows))))
               for start in range(0, min(_WINDOWS, len(windows)), _ITEMS))
    with torch.inference_mode():
        given = [batch if front is None else front(torch.from_numpy(batch)).numpy() for batch in batches]
    write_int8(work / EXPORTED, work / artefact_of(form), iter(given), edges=form.variant == EDGES_FP32)
    return {}


def write_int8(exported: Path, path: Path, batches: Iterator[Floats], *, edges: bool) -> None:
    """Writes the network of `exported` in INT8, calibrated on what it gets; `edges`: but for its first and last layer.

    Raises whatever ONNX Runtime does, OSError without room.
    """
    quantization = importlib.import_module(f"{onnxruntime.__name__}.quantization")
    preprocess = importlib.import_module(f"{quantization.__name__}.preprocess")
    folded = path.with_name(_FOLDED)
    # A normalisation, or a kernel that is computed from weights, must be part of its convolution before that is INT8:
    # a ResNet18 then computes half as much again.
    preprocess.quant_pre_process(str(exported), str(folded), skip_symbolic_shape=True, skip_onnx_shape=True)
    graph = onnx.load(folded, load_external_data=False).graph
    nodes = [node.name for node in graph.node if node.op_type in _WEIGHTED]
    quantization.quantize_static(
        str(folded), str(path), _Batches(graph.input[0].name, batches),
        quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=[*nodes[:1], *nodes[-1:]] if edges else [],
    )
    folded.unlink()


class _Batches:
    """What the network gets, batch by batch, as ONNX Runtime asks for it."""

    def __init__(self, name: str, batches: Iterator[Floats]) -> None:
        self._name = name
        self._batches = batches

    def get_next(self) -> dict[str, Floats] | None:
        """None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
