"""A model that does not mean what it says is not started."""

from __future__ import annotations

import pytest
import torch

from engine.errors import BrokenError
from engine.instance.runner import ModelRunner
from engine.instance.warmup import warm_up
from engine.models.catalogue import LoadedModel, load_model
from engine.spec import ModelSource, ModelSpec
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


def runner(module: torch.nn.Module) -> ModelRunner:
    spec = ModelSpec(source=ModelSource.PICKLE, input_shape=(16,))
    return ModelRunner(load_model(spec, lambda: module), device="cpu", max_batch=4)


def test_every_bucket_is_measured() -> None:
    measured_ms = warm_up(make_runner("loudness"), repeats=2)
    assert list(measured_ms) == [1, 2, 4] and all(ms > 0 for ms in measured_ms.values())


def test_convolutions_run_with_their_channels_last() -> None:
    module = Convolves(by_view=False)
    assert list(warm_up(runner(module), repeats=1)) == [1, 2, 4]
    assert module.seen[-4:] == [True, False, False, False]  # the reference, then every bucket


def test_a_model_that_needs_its_channels_first_keeps_them() -> None:
    module = Convolves(by_view=True)
    given = [parameter.clone() for parameter in module.parameters()]
    assert list(warm_up(runner(module), repeats=1)) == [1, 2, 4]
    assert module.seen[-3:] == [True, True, True]
    assert all(now.equal(then) and now.is_contiguous() for now, then in zip(module.parameters(), given))


def test_an_answer_that_depends_on_the_batch_is_a_failed_start() -> None:
    with pytest.raises(BrokenError, match="answers differently in a batch of 4"):
        warm_up(runner(DependsOnItsNeighbours()), repeats=1)


def test_an_answer_that_is_not_finite_is_a_failed_start() -> None:
    with pytest.raises(BrokenError, match="not finite"):
        warm_up(runner(NeverANumber()), repeats=1)


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(BrokenError, match="cuda:99"):
        ModelRunner(_loaded(), device="cuda:99", max_batch=1)


def _loaded() -> LoadedModel:
    return load_model(ModelSpec(source=ModelSource.FACTORY, location="engine.testing.models:loudness"), None)
