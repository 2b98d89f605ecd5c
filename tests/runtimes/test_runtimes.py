"""Whatever computes a model, its answers are those of the model as it came."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.errors import FormUnavailable
from engine.forms import ModelForm
from engine.runtimes.make import make_runtime
from engine.runtimes.torch_runtime import TorchRuntime
from tests.runtimes.conftest import FRAMES, loaded, small_module

EXACT = ["eager", "onnxruntime-fp32", "openvino-fp32"]
HALF = ["torch-bf16", "openvino-bf16"]


@pytest.mark.parametrize("name", EXACT + HALF)
@pytest.mark.parametrize("items", [1, 3, 8])
@torch.inference_mode()
def test_a_form_answers_as_the_model_does(folder: Path, name: str, items: int) -> None:
    module = small_module()
    batch = torch.randn(items, FRAMES)
    wanted = module(batch)
    runtime = make_runtime(ModelForm.named(name), loaded(module), folder, threads=1)
    found = runtime(batch)
    assert isinstance(found, torch.Tensor)
    if name == "eager":
        assert torch.equal(found, wanted)
    assert (found.float() - wanted).abs().max() < (1e-4 if name in EXACT else 0.1)
    assert runtime.memory_bytes() > 100_000
    runtime.close()


@pytest.mark.parametrize("name", ["onnxruntime-fp32", "openvino-fp32"])
@pytest.mark.parametrize("damage", ["missing", "cut", "noise", "empty"])
def test_a_file_that_is_missing_or_damaged_is_no_form(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    content = (folder / "fp32.onnx").read_bytes()
    damaged = {"cut": content[:-1000], "noise": b"\x00\xff" * 5000, "empty": b""}
    if damage in damaged:
        (tmp_path / "fp32.onnx").write_bytes(damaged[damage])
    with pytest.raises(FormUnavailable, match=r"fp32\.onnx"):
        make_runtime(ModelForm.named(name), loaded(small_module()), tmp_path, threads=1)


@pytest.mark.parametrize("name", ["onnxruntime-bf16", "torch-int8"])
def test_a_precision_that_a_runtime_does_not_know_is_no_form(folder: Path, name: str) -> None:
    with pytest.raises(FormUnavailable, match="computes no"):
        make_runtime(ModelForm.named(name), loaded(small_module()), folder, threads=1)


class _OfDifferences(nn.Module):
    """What it applies is the sum of two weights that nearly cancel out: 1, of which bf16 leaves nothing in either."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([1001.0, -1000.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.linear(images.flatten(1), self.weights.sum().expand(2, 4))


@pytest.mark.parametrize("front", [None, nn.Identity()], ids=["whole", "behind a front"])
@torch.inference_mode()
def test_half_precision_rounds_what_is_applied_and_not_what_that_is_computed_from(front: nn.Module | None) -> None:
    network = _OfDifferences()
    batch = torch.arange(8.0).reshape(2, 2, 2)
    found = TorchRuntime.of(ModelForm.named("torch-bf16"), front, network)(batch)
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found.float(), network(batch))


ABSENT = """
import sys
from pathlib import Path
from engine.errors import FormUnavailable
from engine.forms import EAGER, ModelForm
from engine.runtimes.make import make_runtime
from tests.runtimes.conftest import loaded, small_module
model = loaded(small_module())
make_runtime(EAGER, model, None, threads=1)
print([name for name in ("onnxruntime", "openvino") if name in sys.modules])
for package in ("onnxruntime", "openvino"):
    sys.modules[package] = None
    try:
        make_runtime(ModelForm.named(package + "-fp32"), model, Path(sys.argv[1]), threads=1)
    except FormUnavailable as error:
        print(error)
"""

UNREPORTED = """
import os, sys, threading
from pathlib import Path
from engine.forms import ModelForm
from engine.runtimes.make import make_runtime
from tests.runtimes.conftest import loaded, small_module
model = loaded(small_module())
kept = [make_runtime(ModelForm.named(name + "-fp32"), model, Path(sys.argv[1]), threads=1) for name in sys.argv[2:]]
print([thread.name for thread in threading.enumerate()], os.listdir(Path.home()))
"""


def said_by(program: str, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_runtime_that_is_not_installed_is_no_form_and_the_eager_one_needs_none(folder: Path) -> None:
    eager, *told = said_by(ABSENT, str(folder))
    assert eager == "[]"
    assert [line.partition(":")[0] for line in told] == ["onnxruntime is not installed", "openvino is not installed"]


def test_a_runtime_reports_to_nobody(folder: Path, tmp_path: Path) -> None:
    """Without our doors both of these fail: a database in the home folder, a thread that sends."""
    (told,) = said_by(UNREPORTED, str(folder), "onnxruntime", "openvino", HOME=str(tmp_path))
    assert told == "['MainThread'] []"
