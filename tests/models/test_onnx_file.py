"""An ONNX file is served as it lies there: its answers are its own, its mistakes are told with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engine.models.catalogue import LoadedModel, load_model
from engine.models.weights import FileKind, kind_of
from engine.spec import Activation, ModelSource, ModelSpec
from tests.models.onnx_files import WEIGHTS, linear, save, waves

HEARING = {"sample_rate_hz": "4", "segment_s": "1.0"}


def load(path: Path, **fields: object) -> LoadedModel:
    spec: dict[str, object] = {"source": ModelSource.CHECKPOINT, "location": str(path), **fields}
    return load_model(ModelSpec(**spec))  # type: ignore[arg-type]


def answers(loaded: LoadedModel, items: int) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        found: npt.NDArray[np.float32] = loaded.module(torch.from_numpy(waves(items))).numpy()
    return found


def test_a_file_with_labels_in_its_metadata_is_served(tmp_path: Path) -> None:
    notes = {**HEARING, "labels": '["owl", "fox", "bat"]', "activation": "sigmoid", "peak_normalise": "false"}
    loaded = load(save(linear(notes=notes), tmp_path / "x.onnx"))
    described = loaded.description
    assert described.labels == ("owl", "fox", "bat") and described.classes == 3 and described.input_shape == (4,)
    assert described.sample_rate_hz == 4 and described.segment_s == 1.0 and not described.peak_normalise
    assert described.activation is Activation.SIGMOID and loaded.activation_chosen
    for items in (1, 2, 7):
        assert answers(loaded, items) == pytest.approx(waves(items) @ WEIGHTS, abs=1e-6)


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert kind_of(save(linear(), tmp_path / "weights.pt")) is FileKind.ONNX
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    assert kind_of(tmp_path / "x.onnx") is FileKind.ONNX  # whoever calls it so is told that it is no whole one
