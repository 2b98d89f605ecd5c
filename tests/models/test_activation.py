"""How outputs become probabilities: a property of the model, which the deployment may overrule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.errors import ConfigError, ProtocolError
from engine.models.catalogue import LoadedModel, load_model
from engine.models.outputs import doubtful, probabilities_of
from engine.spec import Activation, ModelDescription, ModelSource, ModelSpec
from tests.models.test_resnet18 import published_state

SOFTMAX, SIGMOID, NONE = Activation


class Pass(nn.Module):
    """Gives its first inputs out as outputs."""

    def __init__(self, *, activation: object = None, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes
        if activation is not None:
            self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.classes]


def loaded(module: nn.Module, activation: Activation | None = None) -> LoadedModel:
    return load_model(ModelSpec(source=ModelSource.PICKLE, input_shape=(4,), activation=activation), lambda: module)


@pytest.mark.parametrize(("own", "wished", "found"), [
    (None, None, SOFTMAX),
    ("sigmoid", None, SIGMOID),
    ("none", None, NONE),
    ("sigmoid", SOFTMAX, SOFTMAX),
    (None, SIGMOID, SIGMOID),
    (nn.Sigmoid(), None, SOFTMAX),  # a layer of that name says nothing of what the model returns
])  # fmt: skip
def test_the_deployment_goes_before_the_model_and_that_before_softmax(
    own: object, wished: Activation | None, found: Activation
) -> None:
    made = loaded(Pass(activation=own), wished)
    assert made.description.activation is found
    assert made.activation_chosen is (isinstance(own, str) or wished is not None)


@pytest.mark.parametrize("name", ["tanh", "Softmax", "none "])
def test_a_name_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(ConfigError, match=f"activation='{name}': must be one of softmax, sigmoid, none"):
        loaded(Pass(activation=name))
    with pytest.raises(ProtocolError, match="must be one of"):
        ModelSpec.from_json({"activation": name})


def test_another_activation_is_another_version() -> None:
    assert len({loaded(Pass(), each).description.model_version for each in Activation}) == 3
    assert loaded(Pass(activation="sigmoid")).description == loaded(Pass(), SIGMOID).description


def test_the_softmax_of_one_class_is_refused_with_what_to_set() -> None:
    with pytest.raises(ConfigError, match="one class, and the softmax of one value is 1.0 .* activation=sigmoid"):
        loaded(Pass(classes=1))
    with pytest.raises(ConfigError, match="one class"):
        loaded(Pass(classes=1), SOFTMAX)
    assert [loaded(Pass(classes=1), each).description.classes for each in (SIGMOID, NONE)] == [1, 1]


@pytest.mark.parametrize("own", [{}, {"activation": "sigmoid"}])
def test_a_checkpoint_is_softmax_unless_it_says_otherwise(tmp_path: Path, own: dict[str, str]) -> None:
    torch.save({"state_dict": published_state(), "preprocessing": own}, tmp_path / "best.pth")
    spec = ModelSpec(source=ModelSource.CHECKPOINT, location=str(tmp_path / "best.pth"), segment_s=1.0)
    assert load_model(spec).description.activation.value == own.get("activation", "softmax")


def test_it_travels_with_spec_and_description() -> None:
    spec = ModelSpec(activation=SIGMOID)
    assert ModelSpec.from_json(spec.to_json()) == spec
    description = loaded(Pass(), NONE).description
    found = ModelDescription.from_bytes(description.to_bytes())
    assert found == description and found.activation is NONE


def test_probabilities() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    for activation, wanted in ((SOFTMAX, logits.softmax(1)), (SIGMOID, logits.sigmoid()), (NONE, logits)):
        found = probabilities_of(logits, activation)
        assert found.dtype == torch.float32 and not found.requires_grad and torch.allclose(found, wanted.float())


def test_an_answer_is_not_the_memory_of_the_model() -> None:
    kept = torch.zeros(2, 3)
    found = probabilities_of(kept, NONE)
    kept += 1
    assert not found.any()


@pytest.mark.parametrize(("outputs", "activation", "chosen", "words"), [
    ([0.98, 0.95, 0.02], SOFTMAX, False, "all outputs .* lie between 0 and 1 .* activation=none .* sigmoid .* softmax"),
    ([0.98, 0.95, 0.02], SOFTMAX, True, ""),
    ([0.98, 0.95, 0.02], NONE, True, ""),
    ([0.98, 3.0, 0.02], SOFTMAX, False, ""),
    ([0.98, -0.1, 0.02], SOFTMAX, False, ""),
    ([0.98, 3.0, 0.02], NONE, True, "they go from 0.02 to 3: .* activation=softmax .* or sigmoid"),
])  # fmt: skip
def test_outputs_that_do_not_go_with_the_activation(
    outputs: list[float], activation: Activation, chosen: bool, words: str
) -> None:
    found = doubtful(torch.tensor([outputs]), activation, chosen=chosen)
    if words:
        assert re.search(words, found)
    else:
        assert found == ""


def test_labels_that_do_not_match_name_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("owl\nfox\n")
    spec = ModelSpec(source=ModelSource.PICKLE, input_shape=(4,), labels_path=str(tmp_path / "labels.txt"))
    with pytest.raises(ConfigError, match=r"the model has 3 classes but \S*labels.txt gives 2 labels"):
        load_model(spec, Pass)


@pytest.mark.parametrize("attributes", [
    {"sample_rate_hz": "high"}, {"input_shape": 8000}, {"input_shape": (4.5,)}, {"labels": 3},
])  # fmt: skip
def test_an_attribute_of_another_kind_is_refused_in_words(attributes: dict[str, Any]) -> None:
    module = Pass()
    for name, value in attributes.items():
        setattr(module, name, value)
    with pytest.raises(ConfigError, match="an attribute of the module is not of its kind"):
        load_model(ModelSpec(source=ModelSource.PICKLE), lambda: module)


def test_a_setting_for_checkpoints_is_refused_for_other_models() -> None:
    with pytest.raises(ConfigError, match="resize_antialias concerns the spectrogram of a NightScan checkpoint"):
        load_model(ModelSpec(source=ModelSource.PICKLE, resize_antialias=True), Pass)
