"""ONNX files made on the spot, small and of every kind that is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
WEIGHTS: npt.NDArray[np.float32] = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32)


def linear(
    *,
    shape: Shape = ("batch", 4),
    kind: int = TensorProto.FLOAT,
    nodes: Sequence[onnx.NodeProto] = (),
    outputs: Mapping[str, Shape] | None = None,
    opset: int = 17,
    ir_version: int = 8,
    notes: Mapping[str, str] | None = None,
    inputs: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.ModelProto:
    """`x @ WEIGHTS` as `logits` [batch, 3], and what `nodes` make of that."""
    numbers = helper.tensor_dtype_to_np_dtype(kind)
    made = [helper.make_node("MatMul", ["x", "w"], ["logits"]), *nodes]
    graph = helper.make_graph(
        made, "linear",
        [helper.make_tensor_value_info("x", kind, shape), *inputs],
        [helper.make_tensor_value_info(name, kind, of) for name, of in (outputs or {"logits": ("batch", 3)}).items()],
        [numpy_helper.from_array(WEIGHTS.astype(numbers), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    for key, value in (notes or {}).items():
        model.metadata_props.add(key=key, value=value)
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def waves(items: int, frames: int = 4) -> npt.NDArray[np.float32]:
    """Sound between -1 and 1."""
    return np.random.default_rng(items).uniform(-1, 1, (items, frames)).astype(np.float32)
