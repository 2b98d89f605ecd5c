"""A model that does not mean what it says is not started."""

from __future__ import annotations

import pytest
import torch

from engine.errors import BrokenError, ConfigError
from engine.instance.runner import ModelRunner
from engine.instance.warmup import warm_up
from engine.models.catalogue import LoadedModel, load_model
from engine.spec import Activation, ModelSource, ModelSpec
from tests.instance.conftest import make_runner


class DependsOnItsNeighbours(torch.nn.Module):
    """Normalises over the batch, as a model left in training mode does."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, :3] * len(waveform)


class NeverANumber(torch.nn.Module):
    """Its logits are NaN as soon as it hears anything."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, :3] / (waveform.abs().sum() == 0)


class Convolves(torch.nn.Module):
    """Two convolutions over the waveform as an image; `by_view` as many models end, which needs channels first."""

    def __init__(self, *, by_view: bool) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 1))
        self.by_view = by_view
        self.seen: list[bool] = []

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(waveform.reshape(-1, 1, 4, 4))
        self.seen.append(found.is_contiguous())
        return found.view(len(found), -1)[:, :3] if self.by_view else found.mean(dim=(2, 3))


def runner(module: torch.nn.Module, activation: Activation | None = None) -> ModelRunner:
    spec = ModelSpec(source=ModelSource.PICKLE, input_shape=(16,), activation=activation)
    return ModelRunner(load_model(spec, lambda: module), device="cpu", max_batch=4)


def test_every_bucket_is_measured() -> None:
    measured_ms = warm_up(make_runner("loudness")).bucket_ms
    assert list(measured_ms) == [1, 2, 4] and all(ms > 0 for ms in measured_ms.values())


def test_convolutions_run_with_their_channels_last() -> None:
    module = Convolves(by_view=False)
    assert list(warm_up(runner(module)).bucket_ms) == [1, 2, 4]
    assert module.seen[-4:] == [True, False, False, False]  # the reference, then every bucket


def test_a_model_that_needs_its_channels_first_keeps_them() -> None:
    module = Convolves(by_view=True)
    given = [parameter.clone() for parameter in module.parameters()]
    assert list(warm_up(runner(module)).bucket_ms) == [1, 2, 4]
    assert module.seen[-3:] == [True, True, True]
    assert all(now.equal(then) and now.is_contiguous() for now, then in zip(module.parameters(), given))


def test_an_answer_that_depends_on_the_batch_is_a_failed_start() -> None:
    with pytest.raises(BrokenError, match="answers differently in a batch of 4"):
        warm_up(runner(DependsOnItsNeighbours()))


def test_an_answer_that_is_not_finite_is_a_failed_start() -> None:
    with pytest.raises(BrokenError, match="not finite"):
        warm_up(runner(NeverANumber()))


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(BrokenError, match="cuda:99"):
        ModelRunner(_loaded(), device="cuda:99", max_batch=1)


def _loaded() -> LoadedModel:
    return load_model(ModelSpec(source=ModelSource.FACTORY, location="engine.testing.models:loudness"), None)


# --- what its owner is told -----------------------------------------------------------------------------------------


class Squeezing(torch.nn.Module):
    """Right for two items, wrong for one."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, :3].squeeze()


class FailsAlone(torch.nn.Module):
    """Cannot do with one item."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, :3] * waveform[1, 0]


class Dropping(torch.nn.Module):
    """A dropout that does not heed evaluation mode."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(waveform[:, :12] * 100, 0.5, training=True)


class Growing(torch.nn.Module):
    """One class more for every item beyond the second."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, : 3 + max(0, len(waveform) - 2)]


class Roomy(torch.nn.Module):
    """Has room for two items."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        if len(waveform) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return -waveform[:, :3]


class Likely(torch.nn.Module):
    """Answers probabilities of classes that can be heard together."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(waveform[:, :3] + torch.tensor([4.0, 3.0, -4.0]))


@pytest.mark.parametrize(("module", "words"), [
    (Squeezing(), r"answered shape \(3,\) for a batch of 1: expected \(1, 3\); a squeeze\(\) without a dimension"),
    (FailsAlone(), "the model failed on a batch of 1 at warm-up: IndexError"),
    (Dropping(), "answers the same item differently each time: .* a dropout that stays on"),
    (Growing(), r"answered shape \(4, 5\) for a batch of 4: expected \(4, 3\); the number of classes must be the same"),
])
def test_a_model_that_cannot_be_served_is_refused_in_words(module: torch.nn.Module, words: str) -> None:
    with pytest.raises((ConfigError, BrokenError), match=words):
        warm_up(runner(module))


def test_a_batch_too_large_for_the_memory_costs_its_size_and_not_the_start() -> None:
    warmed = warm_up(runner(Roomy()))
    assert list(warmed.bucket_ms) == [1, 2] and warmed.size.ceiling.limit == 2
    assert warmed.warnings == ("batches of 4 do not fit into the memory of cpu: smaller ones are made",)


def test_probabilities_under_a_softmax_that_nobody_chose_are_warned_of() -> None:
    (warning,) = warm_up(runner(Likely())).warnings
    assert "between 0 and 1" in warning and "activation=none" in warning
    for activation in Activation:
        assert warm_up(runner(Likely(), activation)).warnings == ()


@pytest.mark.parametrize("activation", Activation)
def test_the_activation_of_the_model_makes_the_answer(activation: Activation) -> None:
    worker = runner(Likely(), activation)
    (found,) = worker.run(warm_up(worker).probe.item)
    outputs = Likely()(torch.from_numpy(warm_up(worker).probe.item.samples[0][None]))
    wanted = {"softmax": outputs.softmax(1), "sigmoid": outputs.sigmoid(), "none": outputs}[activation.value]
    assert found.tolist() == pytest.approx(wanted[0].tolist(), abs=1e-6)
