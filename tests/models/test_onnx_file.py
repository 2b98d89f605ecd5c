"""An ONNX file is served as it lies there: whatever it was made for, its answers are its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from engine.models.catalogue import LoadedModel, load_model
from engine.models.mel import MelSettings
from engine.models.spectrogram import SpectrogramFront
from engine.models.weights import FileKind, kind_of
from engine.spec import Activation
from tests.models.onnx_files import HEARING, WEIGHTS, exported, linear, save, spec_of, waves

NEWEST = onnx.defs.onnx_opset_version()


def load(path: Path, **fields: object) -> LoadedModel:
    return load_model(spec_of(path, **fields))


def answers(loaded: LoadedModel, items: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        found = loaded.module(torch.from_numpy(items))
    assert found.dtype is torch.float32
    return np.asarray(found)


def test_a_file_with_labels_in_its_metadata_is_served(tmp_path: Path) -> None:
    notes = {**HEARING, "labels": '["owl", "fox", "bat"]', "activation": "sigmoid", "peak_normalise": "false"}
    loaded = load(save(linear(notes=notes), tmp_path / "x.onnx"))
    described = loaded.description
    assert described.labels == ("owl", "fox", "bat") and described.classes == 3 and described.input_shape == (4,)
    assert described.sample_rate_hz == 4 and described.segment_s == 1.0 and not described.peak_normalise
    assert described.activation is Activation.SIGMOID and loaded.activation_chosen
    assert loaded.module.onnx_path == tmp_path / "x.onnx"
    for items in (1, 2, 7):
        assert answers(loaded, waves(items)) == pytest.approx(waves(items) @ WEIGHTS, abs=1e-6)


def test_what_is_set_goes_before_what_the_file_says(tmp_path: Path) -> None:
    notes = {**HEARING, "labels": "a,b,c", "activation": "sigmoid", "peak_normalise": "no", "sample_rate": "no number"}
    path = save(linear(notes=notes), tmp_path / "x.onnx")
    described = load(
        path, labels=("x", "y", "z"), activation=Activation.NONE, peak_normalise=True, sample_rate_hz=8, segment_s=0.5
    ).description
    assert described.labels == ("x", "y", "z") and described.activation is Activation.NONE
    assert described.peak_normalise and described.sample_rate_hz == 8 and described.segment_s == 0.5


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert kind_of(save(linear(), tmp_path / "weights.pt")) is FileKind.ONNX
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    assert kind_of(tmp_path / "x.onnx") is FileKind.ONNX  # whoever calls it so is told that it is no whole one


# --- what files are made for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [1, 3])
@pytest.mark.parametrize("items", [1, 2, 3, 7])
def test_a_fixed_batch_is_filled_as_often_as_it_takes(tmp_path: Path, fixed: int, items: int) -> None:
    model = linear(shape=(fixed, 4), outputs={"logits": (fixed, 3)}, notes=HEARING)
    loaded = load(save(model, tmp_path / "x.onnx"))
    assert loaded.module.batch_size == fixed
    assert answers(loaded, waves(items)) == pytest.approx(waves(items) @ WEIGHTS, abs=1e-6)


def test_an_input_of_another_width_is_given_what_it_takes(tmp_path: Path) -> None:
    for kind in (TensorProto.FLOAT16, TensorProto.DOUBLE):
        widened = helper.make_node("Cast", ["given"], ["x"], to=TensorProto.FLOAT)
        model = linear(inputs=[("given", ("n", 4))], kinds={"given": kind}, nodes_before=[widened], notes=HEARING)
        loaded = load(save(model, tmp_path / f"{kind}.onnx"))
        given = waves(5).astype(helper.tensor_dtype_to_np_dtype(kind))
        reference: Any = ReferenceEvaluator(model)
        (expected,) = reference.run(None, {"given": given})
        assert np.abs(answers(loaded, waves(5)) - expected).max() < 1e-4


@pytest.mark.parametrize(("kind", "within"), [(TensorProto.FLOAT16, 2**-9), (TensorProto.DOUBLE, 1e-6)])
def test_a_file_of_another_width_throughout_answers_float32(tmp_path: Path, kind: int, within: float) -> None:
    loaded = load(save(linear(kind=kind, notes=HEARING), tmp_path / "x.onnx"))
    assert answers(loaded, waves(5)) == pytest.approx(waves(5) @ WEIGHTS, abs=within)


def test_a_sigmoid_inside_is_not_followed_by_a_softmax_where_the_file_says_so(tmp_path: Path) -> None:
    sigmoid = helper.make_node("Sigmoid", ["logits"], ["scores"])
    model = linear(nodes=[sigmoid], outputs={"scores": ("batch", 3)}, notes={**HEARING, "activation": "none"})
    loaded = load(save(model, tmp_path / "x.onnx"))
    assert loaded.description.activation is Activation.NONE
    assert answers(loaded, waves(5)) == pytest.approx(1 / (1 + np.exp(-waves(5) @ WEIGHTS)), abs=1e-5)


@pytest.mark.parametrize("opset", [12, 13, 15, 17, 18, 20, 21, NEWEST - 1, NEWEST])
def test_files_of_every_opset_from_12_on_are_served(tmp_path: Path, opset: int) -> None:
    nodes = [helper.make_node("Relu", ["logits"], ["above"]), helper.make_node("Add", ["above", "above"], ["twice"])]
    model = linear(nodes=nodes, outputs={"twice": ("batch", 3)}, opset=opset, ir_version=7, notes=HEARING)
    assert answers(load(save(model, tmp_path / "x.onnx")), waves(3)) == pytest.approx(
        2 * np.maximum(waves(3) @ WEIGHTS, 0), abs=1e-5
    )


@pytest.mark.parametrize("shape", [("n", 1, 4), ("n", 4, 1), ("n", 1, 1, 4), (1, 1, 4)])
def test_a_waveform_may_stand_among_dimensions_of_one(tmp_path: Path, shape: tuple[int | str, ...]) -> None:
    flat = helper.make_node("Flatten", ["wrapped"], ["x"])
    path = save(linear(inputs=[("wrapped", shape)], nodes_before=[flat], notes=HEARING), tmp_path / "x.onnx")
    loaded = load(path)
    assert loaded.description.input_shape == (4,) and loaded.description.is_waveform
    assert answers(loaded, waves(5)) == pytest.approx(waves(5) @ WEIGHTS, abs=1e-6)


def test_an_image_is_an_item_of_its_own_shape(tmp_path: Path) -> None:
    pooled = helper.make_node("Flatten", ["image"], ["x"])
    path = save(linear(inputs=[("image", ("n", 1, 2, 2))], nodes_before=[pooled]), tmp_path / "x.onnx")
    loaded = load(path)
    assert loaded.description.input_shape == (1, 2, 2)
    items = waves(3).reshape(3, 1, 2, 2)
    assert answers(loaded, items) == pytest.approx(waves(3) @ WEIGHTS, abs=1e-6)


# --- several outputs --------------------------------------------------------------------------------------------------

TWO = {"logits": ("batch", 3), "embedding": ("batch", 5)}
EMBEDDING = helper.make_node("Pad", ["logits", "pads"], ["embedding"])
PADS = helper.make_tensor("pads", TensorProto.INT64, [4], [0, 0, 0, 2])


def test_the_output_is_taken_that_is_named(tmp_path: Path) -> None:
    path = save(linear(nodes=[EMBEDDING], outputs=TWO, more=[PADS], notes=HEARING), tmp_path / "x.onnx")
    assert load(path, onnx_output="logits").description.classes == 3
    assert load(path, onnx_output="embedding").description.classes == 5
    versions = {load(path, onnx_output=name).description.model_version for name in TWO}
    assert len(versions) == 2


def test_the_output_is_taken_that_has_as_many_classes_as_there_are_labels(tmp_path: Path) -> None:
    path = save(linear(nodes=[EMBEDDING], outputs=TWO, more=[PADS], notes=HEARING), tmp_path / "x.onnx")
    assert load(path, labels=("a", "b", "c")).module.output == "logits"
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    assert load(path, labels_path=str(tmp_path / "labels.txt")).module.output == "embedding"


def test_the_output_is_taken_that_alone_can_hold_classes(tmp_path: Path) -> None:
    cube = helper.make_node("Unsqueeze", ["logits", "axes"], ["cube"])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    best = helper.make_node("ArgMax", ["logits"], ["best"], axis=1)
    outputs = {"cube": ("batch", 1, 3), "best": ("batch", 1), "logits": ("batch", 3)}
    model = linear(nodes=[cube, best], outputs=outputs, kinds={"best": TensorProto.INT64}, more=[axes], notes=HEARING)
    assert load(save(model, tmp_path / "x.onnx")).module.output == "logits"


# --- exported by torch ------------------------------------------------------------------------------------------------


class Blocks(nn.Module):
    """What an EfficientNet is made of: depthwise and pointwise convolutions, SiLU, squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.SiLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.SiLU())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.SiLU(), nn.Conv2d(2, 8, 1))
        self.head = nn.Linear(8, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.deep(self.stem(images))
        logits: torch.Tensor = self.head((found * self.squeeze(found).sigmoid()).mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("dynamo", [True, False])
def test_what_torch_exports_answers_as_in_torch(tmp_path: Path, dynamo: bool) -> None:
    torch.manual_seed(5)
    module = Blocks().eval()
    notes = {"labels": "a,b,c,d,e,f"}
    loaded = load(exported(module, torch.zeros(2, 3, 64, 64), tmp_path / "x.onnx", notes=notes, dynamo=dynamo))
    assert loaded.description.input_shape == (3, 64, 64) and loaded.description.labels == tuple("abcdef")
    images = torch.rand(5, 3, 64, 64)
    with torch.inference_mode():
        expected = module(images).numpy()
    assert np.abs(answers(loaded, images.numpy()) - expected).max() < 1e-4


# --- spectrograms -----------------------------------------------------------------------------------------------------

MEL = {"n_fft": 256, "hop_frames": 128, "n_mels": 32, "f_min_hz": 50.0, "sample_rate_hz": 8_000}
PIXELS = np.random.default_rng(4).standard_normal((3 * 16 * 24, 4)).astype(np.float32)


def of_images(shape: Sequence[int | str] = ("n", 3, 16, 24), **notes: str) -> onnx.ModelProto:
    """A network of images of 16 x 24 pixels."""
    before = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "pixels"], ["x"])]
    pixels = numpy_helper.from_array(PIXELS, "pixels")
    return linear(inputs=[("image", shape)], nodes_before=before, more=[pixels], notes=notes)


@pytest.mark.parametrize("notes", [{"mel": json.dumps(MEL)}, {"preprocessing": json.dumps({"mel": MEL})}], ids=str)
def test_a_network_of_images_is_given_the_spectrogram_that_its_metadata_names(
    tmp_path: Path, notes: dict[str, str]
) -> None:
    path = save(of_images(**notes), tmp_path / "x.onnx")
    loaded = load(path, segment_s=0.5)
    assert loaded.description.is_waveform and loaded.description.input_shape == (4_000,)
    assert loaded.description.sample_rate_hz == 8_000
    front = SpectrogramFront(MelSettings.from_mapping({**MEL, "image_size": [16, 24]}))
    sound = waves(3, 4_000)
    expected = front(torch.from_numpy(sound)).reshape(3, -1).numpy() @ PIXELS @ WEIGHTS
    assert np.abs(answers(loaded, sound) - expected).max() < 1e-3
    versions = {load(path, segment_s=0.5, **fields).description.model_version
                for fields in ({}, {"resize_antialias": True}, {"sample_rate_hz": 9_000})}  # fmt: skip
    assert len(versions) == 3


# --- versions and large files -----------------------------------------------------------------------------------------


def external(path: Path) -> Path:
    """A file that keeps its weights in one beside it."""
    model = linear(notes=HEARING)
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_weights_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    loaded = load(external(tmp_path / "x.onnx"))
    assert (tmp_path / "weights.bin").stat().st_size
    assert answers(loaded, waves(4)) == pytest.approx(waves(4) @ WEIGHTS, abs=1e-6)


def test_the_version_is_that_of_all_bytes_and_of_what_is_set(tmp_path: Path) -> None:
    path = external(tmp_path / "x.onnx")
    first = load(path).description.model_version
    assert load(path).description.model_version == first
    (tmp_path / "copy").mkdir()
    for name in ("x.onnx", "weights.bin"):
        shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    assert load(tmp_path / "copy" / "x.onnx").description.model_version == first  # wherever it lies
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[1] ^= 1
    (tmp_path / "copy" / "weights.bin").write_bytes(weights)
    others = [
        load(tmp_path / "copy" / "x.onnx"), load(path, labels=("a", "b", "c")), load(path, peak_normalise=False),
        load(save(linear(notes={**HEARING, "author": "me"}), tmp_path / "y.onnx")),
        load(path, activation=Activation.SIGMOID),
    ]  # fmt: skip
    assert len({first, *(loaded.description.model_version for loaded in others)}) == 1 + len(others)
