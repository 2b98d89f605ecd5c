"""Recorded and half-precision forms on `cuda:0`, and the front there, beside what the processor computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import ModelForm
from engine.instance.loading import load
from engine.instance.processor import BatchProcessor
from engine.instance.runner import ModelRunner
from engine.instance.warmup import warm_up
from engine.models.mel import EFFICIENTNET_MEL, MelSettings
from engine.models.spectrogram import SpectrogramFront
from engine.runtimes.contract import Runtime
from engine.runtimes.make import make_runtime
from engine.shm.records import Outcome
from engine.spec import ModelSource, ModelSpec
from tests.instance.conftest import FRAMES as BENCH_FRAMES
from tests.instance.conftest import MAX_BATCH, Bench, bench, make_runner
from tests.runtimes.conftest import FRAMES, loaded, small_module

__all__ = ["bench"]

pytestmark = pytest.mark.gpu

DEVICE = "cuda:0"
LOUDNESS = ModelSpec(source=ModelSource.FACTORY, location="engine.testing.models:loudness")
FORMS = {
    "torch-fp32-graph": 1e-3, "torch-fp16-graph": 0.05, "torch-bf16-graph": 0.1, "torch-fp16": 0.05, "torch-bf16": 0.1,
}


def made(name: str, module: nn.Module) -> Runtime:
    model = loaded(module)
    model.module.to(DEVICE)
    return make_runtime(ModelForm.named(name), model, None, threads=1, device=DEVICE)


@pytest.mark.parametrize("name", FORMS)
@torch.inference_mode()
def test_a_form_answers_every_batch_as_the_model_does(name: str) -> None:
    runtime, oracle = made(name, small_module()), small_module()
    for items in (8, 1, 3, 8, 3, 1):
        batch = torch.randn(items, FRAMES)
        found = runtime(batch.to(DEVICE))
        assert isinstance(found, Tensor)
        assert (found.float().cpu() - oracle(batch)).abs().max() < FORMS[name]
    runtime.close()


class AsksTheHost(nn.Module):
    """What it does depends on numbers that only the host can look at: it cannot be recorded."""

    def forward(self, waveforms: Tensor) -> Tensor:
        scale = 2.0 if waveforms.sum().item() > 0 else 1.0
        return scale * waveforms[:, :3]


@torch.inference_mode()
def test_a_model_that_asks_the_host_is_refused_and_the_device_computes_on() -> None:
    runtime = made("torch-fp32-graph", AsksTheHost())
    batch = torch.rand(2, FRAMES, device=DEVICE)
    with pytest.raises(FormUnavailable, match="torch-fp32-graph cannot be recorded"):
        runtime(batch)
    assert torch.equal(AsksTheHost()(batch), 2.0 * batch[:, :3])


@pytest.mark.parametrize("settings", [MelSettings(), EFFICIENTNET_MEL], ids=["published", "efficientnet"])
@torch.inference_mode()
def test_the_front_hears_the_same_as_on_the_processor(settings: MelSettings) -> None:
    waveforms = 0.1 * torch.randn(3, 44_100, generator=torch.Generator().manual_seed(1))
    front, there = SpectrogramFront(settings), SpectrogramFront(settings).to(DEVICE)
    assert (there.decibels(waveforms.to(DEVICE)).cpu() - front.decibels(waveforms)).abs().max() < 0.01
    assert (there.image(waveforms.to(DEVICE)).cpu() - front.image(waveforms)).abs().max() < 1e-3


def test_batches_are_staged_while_recorded_ones_compute(bench: Bench) -> None:
    """Two in flight, each with its own answers, though every result of a size lies in the same memory."""
    model = load(LOUDNESS.to_json(), [])
    runner, oracle = ModelRunner(model, device=DEVICE, max_batch=MAX_BATCH), make_runner("loudness")
    runner.compute_through(make_runtime(ModelForm.named("torch-fp32-graph"), model, None, threads=1, device=DEVICE))
    runner.use_mapping(bench.segment.array)
    try:
        worker = BatchProcessor(bench.taker, runner, warm_up(runner))
        wanted: list[np.ndarray] = []
        for pair in np.random.default_rng(3).uniform(-0.5, 0.5, (6, 2, BENCH_FRAMES)).astype(np.float32):
            for sound in pair:
                bench.submit(sound)
            batch = bench.take_all()
            wanted.append(oracle.run(batch.payloads()))
            worker.begin(batch)
            if len(worker.in_flight) == worker.most_in_flight:
                worker.finish()
                check(bench, wanted.pop(0))
        worker.finish()
        check(bench, wanted.pop(0))
        assert not worker.in_flight
    finally:
        runner.close()


def check(bench: Bench, wanted: np.ndarray) -> None:
    for row, reply in zip(wanted, bench.replies(), strict=True):
        assert reply.outcome is Outcome.OK
        np.testing.assert_allclose(reply.probabilities, row, atol=1e-5)
