"""The network of a model that is served from an ONNX file: that file, made to fit both runtimes."""

from __future__ import annotations

from pathlib import Path

import onnx
from torch import nn

from engine.errors import FormUnavailable
from engine.models.onnx_model import OnnxModel

_FLOAT = onnx.TensorProto.FLOAT


def copy_onnx(module: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Writes a file of one input, float32 `[batch, *input_shape]`, and the one output that is served.

    Weights beside the file become part of it. Raises FormUnavailable for a file that cannot be brought to that form
    without another graph, OSError without room on the disk.
    """
    assert isinstance(module, OnnxModel), "only these come from a file"
    model = onnx.load(module.onnx_path)
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    taken = [each for each in graph.input if each.name not in weights]  # of old files weights are inputs too
    rank = len(taken[0].type.tensor_type.shape.dim)
    if module.batch_size is not None:
        raise FormUnavailable(f"the file is made for batches of {module.batch_size}")
    if taken[0].type.tensor_type.elem_type != _FLOAT or rank != 1 + len(input_shape):
        raise FormUnavailable("the input of the file is not float32 of an item's dimensions")
    outputs = [each for each in graph.output if each.name == module.output]
    del graph.output[:]
    graph.output.extend(outputs)
    onnx.save(model, path)
