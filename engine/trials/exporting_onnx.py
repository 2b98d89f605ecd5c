"""The network of a model that is served from an ONNX file: that file, made to fit both runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import nn

from engine.models.onnx_model import OnnxModel

_FLOAT = onnx.TensorProto.FLOAT


def copy_onnx(module: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Writes a file of one input, float32 `[batch, *input_shape]`, and the one output that is served, float32 too.

    Weights beside the file become part of it. A batch that the file fixes is declared free: whether what is between
    input and output bears that shows when it is run. Raises OSError without room on the disk.
    """
    assert isinstance(module, OnnxModel), "only these come from a file"
    model = onnx.load(module.onnx_path)
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    (taken,) = [each for each in graph.input if each.name not in weights]  # of old files weights are inputs too
    (given,) = [each for each in graph.output if each.name == module.output]
    del graph.value_info[:]  # shapes in between, as they are for the batch that the file was made for
    _send_float32(graph, taken, input_shape)
    _answer_float32(graph, given)
    onnx.save(model, path)


def _send_float32(graph: onnx.GraphProto, taken: onnx.ValueInfoProto, input_shape: tuple[int, ...]) -> None:
    """Puts an input of the wanted form before the one that the file has."""
    kind, dims = taken.type.tensor_type.elem_type, taken.type.tensor_type.shape.dim[1:]
    name = taken.name
    if kind != _FLOAT:
        name = _put_before(graph, helper.make_node("Cast", [f"{name}_float32"], [name], to=kind))
    if len(dims) != len(input_shape):  # a waveform among dimensions of 1
        frames = [1 if each.dim_value == 1 else input_shape[0] for each in dims]
        graph.initializer.append(numpy_helper.from_array(np.array([-1, *frames], np.int64), f"{name}_shape"))
        name = _put_before(graph, helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [name]))
    kept = [each for each in graph.input if each.name != taken.name]
    del graph.input[:]
    graph.input.extend([helper.make_tensor_value_info(name, _FLOAT, ["batch", *input_shape]), *kept])


def _put_before(graph: onnx.GraphProto, node: onnx.NodeProto) -> str:
    """The name of what the node takes."""
    graph.node.insert(0, node)
    return str(node.input[0])


def _answer_float32(graph: onnx.GraphProto, given: onnx.ValueInfoProto) -> None:
    name = given.name
    classes = given.type.tensor_type.shape.dim[-1:]
    if given.type.tensor_type.elem_type != _FLOAT:
        graph.node.append(helper.make_node("Cast", [name], [f"{name}_float32"], to=_FLOAT))
        name = f"{name}_float32"
    sizes = [each.dim_value or each.dim_param or None for each in classes]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, _FLOAT, ["batch", *(sizes or [None])]))
