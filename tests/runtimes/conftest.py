"""A small model of ours with what trials would have made of it."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.models.catalogue import LoadedModel, load_model
from engine.models.pipeline import SoundClassifier
from engine.models.resnet18 import ResNet18
from engine.models.mel import MelSettings
from engine.spec import ModelSource, ModelSpec

FRAMES = 4_000
CLASSES = 5
MEL = MelSettings(sample_rate_hz=8_000, n_mels=32, image_size=(32, 32))


def small_module() -> SoundClassifier:
    """A ResNet18 of width 8 over images of 32 x 32; the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return SoundClassifier(ResNet18(CLASSES, width=8), MEL).eval()


def loaded(module: nn.Module) -> LoadedModel:
    return load_model(ModelSpec(source=ModelSource.PICKLE, input_shape=(FRAMES,), sample_rate_hz=8_000), lambda: module)


def export(network: nn.Module, example: torch.Tensor, path: Path) -> None:
    """The network as ONNX, its batch dimension free."""
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            network, (example.clone(),), dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
        )
    assert program is not None
    program.save(path, external_data=False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`fp32.onnx` of the small module."""
    made = tmp_path_factory.mktemp("artefacts")
    module = small_module()
    export(module.network, module.front.image(torch.randn(2, FRAMES)), made / "fp32.onnx")
    return made
