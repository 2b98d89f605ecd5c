"""Every source of a model leads to the same kind of loaded model, and every mistake to a text that says what to do."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.models.catalogue import LoadedModel, load_model
from engine.models.foreign import UndecodableWeights
from engine.models.labels import PUBLISHED_LABELS
from engine.models.resnet18 import ResNet18
from engine.spec import ModelSource, ModelSpec
from tests.models.test_resnet18 import published_state
from tests.models.test_weights import save_exported, save_torchscript

FRAMES = 176_400


class Linear(nn.Module):
    """Pools a waveform to one number and gives `classes` logits."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(1, classes)
        nn.init.ones_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.abs().mean(dim=-1, keepdim=True))
        return logits


def pickled(factory: Callable[[], object], **fields: object) -> LoadedModel:
    spec = dataclasses.replace(ModelSpec(source=ModelSource.PICKLE), **fields)  # type: ignore[arg-type]
    return load_model(spec, factory)


def checkpoint(path: Path, state: dict[str, Tensor], **fields: object) -> ModelSpec:
    torch.save(state, path)
    spec = ModelSpec(source=ModelSource.CHECKPOINT, location=str(path))
    return dataclasses.replace(spec, **fields)  # type: ignore[arg-type]


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_published_checkpoint_is_served_unchanged(tmp_path: Path, night_windows: Tensor) -> None:
    loaded = load_model(checkpoint(tmp_path / "best_model.pth", published_state()))
    assert loaded.description.input_shape == (FRAMES,)
    assert loaded.description.labels == PUBLISHED_LABELS and loaded.description.classes == 6
    assert loaded.description.peak_normalise and not loaded.module.training
    network = ResNet18(6).eval()
    network.load_state_dict(published_state())
    with torch.inference_mode():
        image = loaded.module.front(night_windows[:2])  # type: ignore[operator]
        expected = network(image).softmax(dim=1)
        assert (loaded.module(night_windows[:2]).softmax(dim=1) - expected).abs().max() < 1e-4


def test_labels_come_from_the_training_list(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label\nd/fox/1.wav,1\nd/owl/1.wav,0\n")
    spec = checkpoint(tmp_path / "x.pth", published_state(classes=2), labels_path=str(tmp_path / "train.csv"))
    assert load_model(spec).description.labels == ("owl", "fox")
    assert load_model(dataclasses.replace(spec, labels=("a", "b"))).description.labels == ("a", "b")


def test_a_checkpoint_may_describe_its_own_preprocessing(tmp_path: Path) -> None:
    described = {"segment_s": 2.0, "peak_normalise": False, "mel": {"n_mels": 64, "sample_rate_hz": 16_000}}
    content = {"state_dict": published_state(2), "labels": ["owl", "fox"], "preprocessing": described}
    torch.save(content, tmp_path / "x.pth")
    spec = ModelSpec(source=ModelSource.CHECKPOINT, location=str(tmp_path / "x.pth"))
    description = load_model(spec).description
    assert description.input_shape == (32_000,) and description.sample_rate_hz == 16_000
    assert not description.peak_normalise and description.labels == ("owl", "fox")
    assert load_model(dataclasses.replace(spec, segment_s=3.0)).description.input_shape == (48_000,)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(("change", "complaint"), [
    (lambda state: without(state, "layer2.0.bn1.weight"), r"no layer2\.0\.bn1\.weight \(1 differences\)"),
    (lambda state: {**state, "layer9.weight": torch.zeros(1)}, r"unknown layer9\.weight"),
    (lambda state: {**state, "bn1.weight": torch.zeros(3)}, r"bn1\.weight has shape \(3,\), not \(64,\)"),
    (lambda state: {"features.0.0.weight": torch.zeros(2)}, "no ResNet18 .* has features.0.0.weight.*model_factory"),
    (lambda state: without(state, "fc.weight"), "no ResNet18"),
])
def test_a_checkpoint_that_does_not_fit_says_where(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], complaint: str
) -> None:
    with pytest.raises(UndecodableWeights, match=complaint):
        load_model(checkpoint(tmp_path / "x.pth", change(published_state())))


def test_counters_that_old_checkpoints_lack_are_not_missed(tmp_path: Path) -> None:
    state = {name: value for name, value in published_state().items() if not name.endswith("num_batches_tracked")}
    assert load_model(checkpoint(tmp_path / "x.pth", state)).description.classes == 6


def test_the_number_of_labels_must_be_that_of_the_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(["owl", "fox"]))
    for fields in ({"labels": ("owl", "fox")}, {"labels_path": str(tmp_path / "labels.json")}):
        with pytest.raises(ConfigError, match="6 classes but .* gives 2 labels"):
            load_model(checkpoint(tmp_path / "x.pth", published_state(), **fields))


def test_a_checkpoint_of_other_classes_needs_names_for_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="4 classes, not the published 6, .* model_labels"):
        load_model(checkpoint(tmp_path / "x.pth", published_state(classes=4)))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match="no model file at /nowhere/model.pth"):
        load_model(ModelSpec(source=ModelSource.CHECKPOINT, location="/nowhere/model.pth"))


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [save_torchscript, save_exported])
def test_programs_are_served_with_the_shape_that_they_take(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    path = save(tmp_path / "program.pt")
    spec = ModelSpec(source=ModelSource.CHECKPOINT, location=str(path), input_shape=(4,))
    loaded = load_model(spec)
    assert loaded.description.classes == 3 and loaded.description.labels == ("class_0", "class_1", "class_2")
    assert torch.equal(loaded.module(torch.ones(5, 4)), torch.full((5, 3), 2.0))


def test_a_program_exported_for_one_item_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(Linear(), (torch.zeros(1, 4),))
    torch.export.save(program, tmp_path / "one.pt2")
    spec = ModelSpec(source=ModelSource.CHECKPOINT, location=str(tmp_path / "one.pt2"), input_shape=(4,))
    with pytest.raises(ConfigError, match="the first dimension is the batch and must be free"):
        load_model(spec)


# --- factories --------------------------------------------------------------------------------------------------------


@pytest.fixture
def operator_code(tmp_path: Path) -> Iterator[Path]:
    """A folder with a package of the operator's, forgotten again after the test."""
    package = tmp_path / "operator_models"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "owls.py").write_text(
        "import torch\n"
        "class Owls(torch.nn.Module):\n"
        "    sample_rate_hz, segment_s, labels, peak_normalise = 16_000, 1.0, ['owl', 'other'], False\n"
        "    def forward(self, x):\n"
        "        return x[:, :2]\n"
        "make = Owls\n"
        "number = 3\n"
        "def broken():\n"
        "    raise ValueError('weights are on another machine')\n"
        "def text():\n"
        "    return 'model'\n"
    )
    (package / "needs_more.py").write_text("import a_package_that_nobody_has\n")
    (package / "faulty.py").write_text("def make(:\n")
    (package / "script.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--weights', required=True)\n"
        "options = parser.parse_args([])\n"
    )
    (package / "odd.py").write_text(
        "import sys\n"
        "class Odd(BaseException):\n"
        "    pass\n"
        "def exits():\n"
        "    sys.exit('no GPU here')\n"
        "def interrupts():\n"
        "    raise KeyboardInterrupt\n"
        "def odd():\n"
        "    raise Odd('of its own')\n"
        "def none():\n"
        "    raise 3\n"
        "def endless():\n"
        "    return endless()\n"
    )
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("operator_models")]:
        del sys.modules[name]


def operators(folder: Path, location: str, **fields: object) -> LoadedModel:
    spec = ModelSpec(source=ModelSource.FACTORY, location=location, import_paths=(str(folder),))
    return load_model(dataclasses.replace(spec, **fields))  # type: ignore[arg-type]


def test_a_factory_is_imported_from_the_operators_folder(operator_code: Path) -> None:
    description = operators(operator_code, "operator_models.owls:make").description
    assert description.input_shape == (16_000,) and description.sample_rate_hz == 16_000
    assert description.labels == ("owl", "other") and not description.peak_normalise


def test_the_spec_has_the_last_word(operator_code: Path) -> None:
    description = operators(
        operator_code, "operator_models.owls:make", segment_s=2.0, labels=("a", "b"), peak_normalise=True
    ).description
    assert description.input_shape == (32_000,) and description.labels == ("a", "b") and description.peak_normalise


@pytest.mark.parametrize(("location", "complaint"), [
    ("operator_models.owls", "has the form package.module:function"),
    (":make", "has the form package.module:function"),
    ("operator_models.eagles:make", r"cannot import operator_models\.eagles .* PYTHONPATH"),
    ("nobody_has_this:make", "cannot import nobody_has_this .* PYTHONPATH"),
    ("operator_models.owls:hatch", r"operator_models\.owls \(.*owls\.py\) has no hatch"),
    ("operator_models.owls:number", "is a int and cannot be called"),
    ("operator_models.needs_more:make", "needs a_package_that_nobody_has, which is not installed"),
    ("operator_models.faulty:make", "importing model factory .* raised SyntaxError"),
    ("operator_models.owls:broken", "raised ValueError: weights are on another machine"),
    ("operator_models.script:make", r"importing model factory \S+script:make raised SystemExit: 2, which would end"),
    ("operator_models.odd:exits", "odd:exits raised SystemExit: no GPU here, which would end the process"),
    ("operator_models.odd:interrupts", "raised KeyboardInterrupt"),
    ("operator_models.odd:odd", "raised Odd: of its own"),
    ("operator_models.odd:none", "raised TypeError: exceptions must derive from BaseException"),
    ("operator_models.odd:endless", "raised RecursionError"),
    ("operator_models.owls:text", "returned a str; it must return a torch.nn.Module"),
])
def test_a_factory_that_fails_says_whose_fault_it_is(operator_code: Path, location: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        operators(operator_code, location)


def test_a_closure_makes_a_model() -> None:
    classes = 5
    loaded = pickled(lambda: Linear(classes))
    assert loaded.description.classes == 5 and loaded.description.labels[4] == "class_4"
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())


def test_a_pickle_without_its_callable_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs its callable"):
        load_model(ModelSpec(source=ModelSource.PICKLE))


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_an_item_may_have_any_shape() -> None:
    class Cube(nn.Sequential):
        input_shape = (2, 3, 4)

    loaded = pickled(lambda: Cube(nn.Flatten(), nn.Linear(2 * 3 * 4, 2)))
    assert loaded.description.input_shape == (2, 3, 4) and not loaded.description.is_waveform
    assert loaded.description.payload_bytes == 96


def test_a_model_of_another_shape_is_told_how_to_say_so() -> None:
    with pytest.raises(ConfigError, match=r"zeros of shape \[2, 176400\]: .*set input_shape"):
        pickled(lambda: nn.Linear(16_000, 3))
    assert pickled(lambda: nn.Linear(16_000, 3), input_shape=(16_000,)).description.classes == 3


class Answers(nn.Module):
    """Gives what it was made with."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> object:
        return self.answer


@pytest.mark.parametrize(("answer", "complaint"), [
    ((torch.zeros(2, 3),), "not a tuple"), ({"logits": torch.zeros(2, 3)}, "not a dict"),
    (torch.zeros(3), r"answered shape \(3,\) for a batch of 2"), (torch.zeros(2, 3, 4), r"shape \(2, 3, 4\)"),
])
def test_what_is_no_logits_is_refused(answer: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        pickled(lambda: Answers(answer))


# --- versions ---------------------------------------------------------------------------------------------------------


def test_the_version_changes_with_whatever_can_change_an_answer(tmp_path: Path, operator_code: Path) -> None:
    spec = checkpoint(tmp_path / "x.pth", published_state())
    first = load_model(spec).description.model_version
    assert load_model(spec).description.model_version == first
    others = [
        load_model(checkpoint(tmp_path / "y.pth", published_state(seed=1))),
        load_model(dataclasses.replace(spec, peak_normalise=False)),
        load_model(dataclasses.replace(spec, segment_s=4.0)),
        load_model(dataclasses.replace(spec, sample_rate_hz=22_000)),
        load_model(dataclasses.replace(spec, labels=tuple("abcdef"))),
        load_model(dataclasses.replace(spec, labels=tuple("abcdfe"))),
        pickled(Linear), pickled(lambda: Linear(4)),
        load_model(ModelSpec(source=ModelSource.PICKLE), Linear, fingerprint=b"other code"),
        operators(operator_code, "operator_models.owls:make"),
    ]
    versions = {first} | {loaded.description.model_version for loaded in others}
    assert len(versions) == 1 + len(others) and all(len(version) == 16 for version in versions)


def test_the_version_does_not_depend_on_the_file_format(tmp_path: Path) -> None:
    bare = load_model(checkpoint(tmp_path / "x.pth", published_state()))
    wrapped = {"state_dict": {"module." + name: value for name, value in published_state().items()}, "epoch": 9}
    torch.save(wrapped, tmp_path / "y.pth")
    again = load_model(ModelSpec(source=ModelSource.CHECKPOINT, location=str(tmp_path / "y.pth")))
    assert again.description.model_version == bare.description.model_version


# --- the module itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", range(1, 9))
def test_an_answer_does_not_depend_on_its_batch(demo: LoadedModel, night_windows: Tensor, batch: int) -> None:
    with torch.inference_mode():
        together = demo.module(night_windows[:batch]).softmax(dim=1)
        alone = torch.cat([demo.module(night_windows[i:i + 1]) for i in range(batch)]).softmax(dim=1)
    assert (together - alone).abs().max() < 1e-4


def test_importing_the_catalogue_brings_in_nothing_heavy_but_torch() -> None:
    heavy = ("scipy", "librosa", "sympy", "torchvision", "torch._dynamo", "torch._inductor", "soundfile", "soxr",
             "onnxruntime")
    script = f"import sys, engine.models.catalogue; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
