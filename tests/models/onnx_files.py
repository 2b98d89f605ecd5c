"""ONNX files made on the spot, small and of every kind that is met."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.spec import ModelSource, ModelSpec

Shape = Sequence[int | str]
WEIGHTS: npt.NDArray[np.float32] = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32)
HEARING = {"sample_rate_hz": "4", "segment_s": "1.0"}


def linear(
    *,
    shape: Shape = ("batch", 4),
    kind: int = TensorProto.FLOAT,
    inputs: Sequence[tuple[str, Shape]] = (),
    nodes_before: Sequence[onnx.NodeProto] = (),
    nodes: Sequence[onnx.NodeProto] = (),
    outputs: Mapping[str, Shape] | None = None,
    kinds: Mapping[str, int] | None = None,
    more: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
    ir_version: int = 8,
    notes: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """`x @ WEIGHTS` as `logits` [batch, 3], what `nodes` make of that, and `nodes_before` make x of.

    `kinds`: of inputs and outputs that differ from `kind`; `more`: further constants.
    """
    kinds = kinds or {}
    numbers = helper.tensor_dtype_to_np_dtype(kind)
    made = [*nodes_before, helper.make_node("MatMul", ["x", "w"], ["logits"]), *nodes]
    graph = helper.make_graph(
        made, "linear",
        [helper.make_tensor_value_info(name, kinds.get(name, kind), of) for name, of in inputs or [("x", shape)]],
        [helper.make_tensor_value_info(name, kinds.get(name, kind), of)
         for name, of in (outputs or {"logits": ("batch", 3)}).items()],
        [numpy_helper.from_array(WEIGHTS.astype(numbers), "w"), *more],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    for key, value in (notes or {}).items():
        model.metadata_props.add(key=key, value=value)
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def exported(
    module: nn.Module, example: torch.Tensor, path: Path, *, notes: Mapping[str, str], dynamo: bool = False
) -> Path:
    """The module as either of torch's exporters writes it, for any number of items."""
    batch = {0: torch.export.Dim("batch")} if dynamo else {"input": {0: "batch"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's about itself
        torch.onnx.export(
            module, (example,), str(path), dynamo=dynamo, external_data=False, verbose=False, input_names=["input"],
            **({"dynamic_shapes": (batch,)} if dynamo else {"dynamic_axes": batch}),
        )  # fmt: skip
    model = onnx.load(str(path))
    helper.set_model_props(model, dict(notes))
    return save(model, path)


def spec_of(path: Path, **fields: object) -> ModelSpec:
    spec: dict[str, object] = {"source": ModelSource.CHECKPOINT, "location": str(path), **fields}
    return ModelSpec(**spec)  # type: ignore[arg-type]


def waves(items: int, frames: int = 4) -> npt.NDArray[np.float32]:
    """Sound between -1 and 1."""
    return np.random.default_rng(items).uniform(-1, 1, (items, frames)).astype(np.float32)
