"""The instance on `cuda:0`: same answers as on the CPU, audio staged from the segment's own pages."""

from __future__ import annotations

import numpy as np
import pytest

from engine.instance.cuda import CudaDevice
from engine.instance.loading import load
from engine.instance.processor import BatchProcessor
from engine.instance.runner import ModelRunner
from engine.instance.warmup import warm_up
from engine.shm.batch import Payloads
from engine.shm.records import Outcome
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
    runner.use_mapping(bench.segment.array)
    try:
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, (3, FRAMES - 100))
        for row in noise:
            bench.submit((row * 32768).astype(np.int16) if int16 else row.astype(np.float32), gain=1.5)
        batch = bench.take_all()
        spec = ModelSpec(source=ModelSource.FACTORY, location="engine.testing.models:loudness")
        wanted = ModelRunner(load(spec.to_json(), []), device="cpu", max_batch=MAX_BATCH).run(batch.payloads())
        worker = BatchProcessor(bench.taker, runner, warm_up(runner))
        worker.begin(batch)
        worker.finish()
        for row, reply in zip(wanted, bench.replies()):
            assert reply.outcome is Outcome.OK
            np.testing.assert_allclose(reply.probabilities, row, atol=1e-5)
    finally:
        runner.close()


def test_the_mapping_is_page_locked(bench: Bench, runner: ModelRunner) -> None:
    runner.use_mapping(bench.segment.array)
    try:
        assert isinstance(runner.place, CudaDevice) and runner.place.registered
    finally:
        runner.close()


def test_warm_up_passes_on_the_device(runner: ModelRunner) -> None:
    assert list(warm_up(runner).bucket_ms) == [1, 2, 4]


def test_a_batch_is_staged_while_another_computes(bench: Bench, runner: ModelRunner) -> None:
    """Two in flight, each with its own answers; the second counts as started only once the first is replied to."""
    runner.use_mapping(bench.segment.array)
    try:
        worker = BatchProcessor(bench.taker, runner, warm_up(runner))
        rounds = np.random.default_rng(1).uniform(-0.5, 0.5, (6, 2, FRAMES)).astype(np.float32)
        spec = ModelSpec(source=ModelSource.FACTORY, location="engine.testing.models:loudness")
        oracle = ModelRunner(load(spec.to_json(), []), device="cpu", max_batch=MAX_BATCH)
        wanted: list[np.ndarray] = []
        for pair in rounds:
            for sound in pair:
                bench.submit(sound)
            batch = bench.take_all()
            wanted.append(oracle.run(batch.payloads()))
            worker.begin(batch)
            if len(worker.in_flight) == worker.most_in_flight:
                assert batch.column("started") == [0, 0]
                worker.finish()
                assert batch.column("started") == [bench.taker.name] * 2
                check(bench, wanted.pop(0))
        worker.finish()
        check(bench, wanted.pop(0))
        assert not worker.in_flight and bench.owner.statistics().free == 8
    finally:
        runner.close()


def check(bench: Bench, wanted: np.ndarray) -> None:
    for row, reply in zip(wanted, bench.replies(), strict=True):
        assert reply.outcome is Outcome.OK
        np.testing.assert_allclose(reply.probabilities, row, atol=1e-5)


def test_what_nobody_waits_for_is_left_out_at_the_launch(bench: Bench, runner: ModelRunner) -> None:
    sounds = np.random.default_rng(2).uniform(-0.5, 0.5, (4, FRAMES)).astype(np.float32)
    payloads = Payloads(list(sounds), np.ones(4, dtype=np.float32))
    staged = runner.place.stage(payloads)
    staged.settle()
    staged.launch(runner.probabilities, [3, 1])
    found = staged.wait().copy()
    staged.discard()
    np.testing.assert_allclose(found, runner.run(payloads.part([3, 1])), atol=1e-6)
