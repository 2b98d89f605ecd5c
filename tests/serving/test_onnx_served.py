"""A whole server over an .onnx file: its answers are those of the model that was exported; a bad file costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from tests.conformance import sounds
from tests.models.onnx_files import exported, save
from tests.serving.servers import ROUTES, Row, address_of, rows_of, server, status_of, version_of
from tests.support.server import ROOT, ServerProcess

RATE_HZ = 16_000
LABELS = ("bat", "cricket", "fox", "frog", "owl", "rain")


class Ears(nn.Module):
    """A waveform through learnt filters, and then what an EfficientNet is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 32, 400, stride=160)
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.SiLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.SiLU())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.SiLU(), nn.Conv2d(2, 8, 1))
        self.head = nn.Linear(8, len(LABELS))

    def forward(self, waveforms: Tensor) -> Tensor:
        image = self.filters(waveforms.unsqueeze(1)).abs().add(1e-3).log().unsqueeze(1)
        found = self.deep(self.stem(image))
        logits: Tensor = self.head((found * self.squeeze(found).sigmoid()).mean(dim=(2, 3)))
        return logits


def ears() -> nn.Module:
    torch.manual_seed(7)
    return Ears().eval()


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, with everything that its users need to know of it inside."""
    notes = {"names": str(dict(enumerate(LABELS))), "sample_rate": str(RATE_HZ), "segment_duration": "1.0"}
    return exported(ears(), torch.zeros(2, RATE_HZ), tmp_path_factory.mktemp("onnx") / "ears.onnx", notes=notes)


@pytest.fixture(scope="module")
def process(model_path: Path) -> Iterator[ServerProcess]:
    with server({"model_pool_size": 1, "max_batch_size": 4}, MODEL_PATH=str(model_path)) as process:
        yield process


def expected(samples: bytes) -> dict[str, float]:
    """Label -> probability by the module itself, for one window of 16-bit sound."""
    window = np.frombuffer(samples, "<i2").astype(np.float32)
    with torch.inference_mode():
        scores = ears()(torch.from_numpy(window / np.abs(window).max()).unsqueeze(0)).softmax(dim=1)[0]
    return dict(zip(LABELS, scores.tolist(), strict=True))


def assert_as_expected(rows: list[Row], samples: bytes) -> None:
    wanted = expected(samples)
    assert [label for label, _ in rows] == sorted(wanted, key=lambda label: -wanted[label])[: len(rows)]
    assert [score for _, score in rows] == pytest.approx([wanted[label] for label, _ in rows], abs=1e-4)


CONTENT = sounds.wav(sounds.tone(1.0, rate_hz=RATE_HZ, level=0.5, pitch_hz=3000), rate_hz=RATE_HZ)


@pytest.mark.parametrize("route", ROUTES)
def test_an_onnx_file_answers_as_the_module_that_it_was(process: ServerProcess, route: str) -> None:
    assert_as_expected(rows_of(address_of(process).upload(route, CONTENT)), CONTENT[44:])


def nightscan(process: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "frontend.cli.main", "--runtime-dir", str(process.runtime_dir), *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60)


def with_embedding(path: Path, to: Path) -> Path:
    """The same model with a second output, no metadata, and for one item at a time."""
    model = onnx.load(str(path))
    (logits,) = model.graph.output
    model.graph.node.append(helper.make_node("Concat", [logits.name, logits.name], ["embedding"], axis=1))
    model.graph.output.append(helper.make_tensor_value_info("embedding", 1, (1, 2 * len(LABELS))))
    for value in (*model.graph.input, logits):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.metadata_props[:]
    return save(model, to)


def test_the_command_line_swaps_in_another_file(process: ServerProcess, model_path: Path, tmp_path: Path) -> None:
    path = with_embedding(model_path, tmp_path / "two.onnx")
    name = onnx.load(str(path)).graph.output[0].name
    deployment = status_of(process)["deployments"][0]["deployment"]
    order = ("deploy", deployment, "--model-path", str(path), "--sample-rate-hz", str(RATE_HZ))
    refused = nightscan(process, *order)
    assert refused.returncode == 4 and len(refused.stderr.splitlines()) == 1
    assert f"set onnx_output to its name; they are {name} float[1, 6], embedding float[1, 12]" in refused.stderr
    was = version_of(process)["model"]["model_version"]
    done = nightscan(process, *order, "--onnx-output", name)
    assert done.returncode == 0, done.stderr
    assert version_of(process)["model"]["model_version"] != was
    answer = address_of(process).upload(ROUTES[0], CONTENT)
    wanted = sorted(expected(CONTENT[44:]).values(), reverse=True)
    assert [score for _, score in rows_of(answer)] == pytest.approx(wanted[:5], abs=1e-4)
    assert all(label.startswith("class_") for label, _ in rows_of(answer))
