"""The instance on `cuda:0`: same answers as on the CPU, audio staged from the segment's own pages."""

from __future__ import annotations

import numpy as np
import pytest

from engine.instance.batch import BatchProcessor
from engine.instance.loading import load
from engine.instance.runner import ModelRunner
from engine.instance.staging import CudaStaging
from engine.instance.warmup import warm_up
from engine.shm.taker import Outcome
from engine.spec import ModelSource, ModelSpec
from tests.instance.conftest import FRAMES, MAX_BATCH, Bench, bench

__all__ = ["bench"]

pytestmark = pytest.mark.gpu


@pytest.fixture
def runner() -> ModelRunner:
    spec = ModelSpec(source=ModelSource.FACTORY, location="engine.testing.models:loudness")
    return ModelRunner(load(spec.to_json(), []), device="cuda:0", max_batch=MAX_BATCH)


@pytest.mark.parametrize("int16", [True, False])
def test_same_answers_from_slots_as_on_the_cpu(bench: Bench, runner: ModelRunner, int16: bool) -> None:
    runner.use_mapping(bench.segment.array, may_lock=True)
    try:
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, (3, FRAMES - 100))
        for row in noise:
            bench.submit((row * 32768).astype(np.int16) if int16 else row.astype(np.float32), gain=1.5)
        batch = bench.take_all()
        spec = ModelSpec(source=ModelSource.FACTORY, location="engine.testing.models:loudness")
        wanted = ModelRunner(load(spec.to_json(), []), device="cpu", max_batch=MAX_BATCH).run(batch)
        BatchProcessor(bench.taker, runner, warm_up(runner, repeats=1)).process(batch)
        for row, reply in zip(wanted, bench.replies()):
            assert reply.outcome is Outcome.OK and reply.probabilities is not None
            np.testing.assert_allclose(reply.probabilities, row, atol=1e-5)
    finally:
        runner.close()


def test_the_mapping_is_page_locked(bench: Bench, runner: ModelRunner) -> None:
    runner.use_mapping(bench.segment.array, may_lock=True)
    try:
        assert isinstance(runner._staging, CudaStaging) and runner._staging.registered
    finally:
        runner.close()


def test_warm_up_passes_on_the_device(runner: ModelRunner) -> None:
    assert list(warm_up(runner, repeats=2).bucket_ms) == [1, 2, 4]
