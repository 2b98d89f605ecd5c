"""One batch: every slot is answered once, and an error reaches its culprit alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.clock import now_ns
from engine.instance.faults import Poisoned
from engine.instance.processor import BatchCounts, BatchProcessor
from engine.instance.runner import ModelRunner
from engine.instance.warmup import warm_up
from engine.runtimes.torch_runtime import TorchRuntime
from engine.shm.batch import Batch
from engine.shm.records import Outcome
from engine.testing.models import EXIT, FAIL, LOSE_DEVICE, NOT_A_NUMBER, POISON, ROOM_FOR, Crowded
from tests.instance.conftest import FRAMES, Bench, make_runner


def sound(seed: int, *, first: float | None = None) -> np.ndarray:
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, FRAMES).astype(np.float32)
    if first is not None:
        samples[0] = first
    return samples


def processor(bench: Bench, factory: str) -> tuple[BatchProcessor, ModelRunner]:
    """One that is warm."""
    runner = make_runner(factory)
    return BatchProcessor(bench.taker, runner, warm_up(runner)), runner


def module_of(runner: ModelRunner) -> torch.nn.Module:
    """The model as it came, which is what these compute."""
    assert isinstance(runner.runtime, TorchRuntime)
    return runner.runtime.module


def process(worker: BatchProcessor, batch: Batch) -> BatchCounts:
    """One batch through both halves."""
    worker.begin(batch)
    return worker.finish()


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max())
    return np.asarray(shifted / shifted.sum())


def expected(samples: np.ndarray) -> np.ndarray:
    values = samples.astype(np.float64)
    return softmax(np.array([values.mean(), values.std(ddof=1), values.max(), values.min()]))


def test_each_item_gets_its_own_answer(bench: Bench) -> None:
    sounds = [sound(seed) for seed in range(4)]
    for samples in sounds:
        bench.submit(samples)
    counts = process(processor(bench, "loudness")[0], bench.take_all())
    assert (counts.computed, counts.failed) == (4, 0)
    for samples, reply in zip(sounds, bench.replies()):
        assert reply.outcome is Outcome.OK and reply.batch_size == 4
        np.testing.assert_allclose(reply.probabilities, expected(samples), atol=1e-5)
    assert bench.owner.statistics().free == 8


@pytest.mark.parametrize("culprit", range(4))
def test_only_the_culprit_gets_the_error(bench: Bench, culprit: int) -> None:
    for i in range(4):
        bench.submit(sound(i, first=FAIL if i == culprit else None))
    counts = process(processor(bench, "troubled")[0], bench.take_all())
    outcomes = [reply.outcome for reply in bench.replies()]
    assert outcomes == [Outcome.MODEL_FAILED if i == culprit else Outcome.OK for i in range(4)]
    assert counts.failed == 1


def test_a_model_error_says_what_it_was(bench: Bench) -> None:
    bench.submit(sound(0, first=FAIL))
    process(processor(bench, "troubled")[0], bench.take_all())
    assert str(bench.replies()[0].error) == "ValueError: an item asked to fail"


def test_an_answer_that_is_not_finite_is_an_error_of_its_item(bench: Bench) -> None:
    bench.submit(sound(0))
    bench.submit(sound(1, first=NOT_A_NUMBER))
    process(processor(bench, "troubled")[0], bench.take_all())
    assert [reply.outcome for reply in bench.replies()] == [Outcome.OK, Outcome.NON_FINITE]


def test_expired_work_is_answered_uncomputed(bench: Bench) -> None:
    bench.submit(sound(0), deadline_s=-1.0)
    bench.submit(sound(1))
    counts = process(processor(bench, "loudness")[0], bench.take_all())
    assert counts.computed == 1
    assert [reply.outcome for reply in bench.replies()] == [Outcome.EXPIRED, Outcome.OK]


def test_cancelled_work_is_dropped_uncomputed(bench: Bench) -> None:
    bench.submit(sound(0))
    batch = bench.take_all()
    ticket = next(iter(bench.owner._outstanding.values()))
    bench.owner.abandon(ticket)
    counts = process(processor(bench, "loudness")[0], batch)
    assert counts.computed == 0
    assert bench.replies() == [] and bench.owner.statistics().free == 8


# --- whose fault it is ----------------------------------------------------------------------------------------------


def test_items_that_all_fail_get_their_errors_from_an_instance_that_works(bench: Bench) -> None:
    for i in range(4):
        bench.submit(sound(i, first=FAIL))
    counts = process(processor(bench, "troubled")[0], bench.take_all())
    assert counts.failed == 4
    assert [reply.outcome for reply in bench.replies()] == [Outcome.MODEL_FAILED] * 4


def test_a_model_that_exits_fails_its_item_and_not_the_instance(bench: Bench) -> None:
    bench.submit(sound(0))
    bench.submit(sound(1, first=EXIT))
    process(processor(bench, "troubled")[0], bench.take_all())
    replies = bench.replies()
    assert [reply.outcome for reply in replies] == [Outcome.OK, Outcome.MODEL_FAILED]
    assert str(replies[1].error) == "SystemExit: an item asked to exit"


@pytest.mark.parametrize("culprit", range(4))
@pytest.mark.parametrize(("marker", "why"), [
    (POISON, "4 of 4 items failed .* then the warm-up item: ValueError: nothing works"),
    (LOSE_DEVICE, "the device cannot be used any more: AcceleratorError: CUDA error: an illegal memory access"),
])
def test_an_instance_that_cannot_compute_any_more_answers_nobody(
    bench: Bench, culprit: int, marker: float, why: str
) -> None:
    """What it leaves unanswered runs again elsewhere: with the error the innocent would have been answered for good."""
    for i in range(4):
        bench.submit(sound(i, first=marker if i == culprit else None))
    with pytest.raises(Poisoned, match=why):
        process(processor(bench, "troubled")[0], bench.take_all())
    assert bench.replies() == [] and bench.owner.outstanding == 4


def test_a_model_whose_weights_have_become_nan_answers_nobody(bench: Bench) -> None:
    worker, runner = processor(bench, "weighted")
    for parameter in module_of(runner).parameters():
        parameter.data.fill_(float("nan"))
    bench.submit(sound(0))
    with pytest.raises(Poisoned, match="1 of 1 items failed .not finite., then the warm-up item: .* is not finite"):
        process(worker, bench.take_all())
    assert bench.replies() == []


def test_a_model_that_answers_otherwise_than_at_warm_up_answers_no_error(bench: Bench) -> None:
    worker, runner = processor(bench, "weighted")
    for parameter in module_of(runner).parameters():
        parameter.data.fill_(0.0)
    bench.submit(sound(0, first=FAIL))
    with pytest.raises(Poisoned, match="its answer is off by"):
        process(worker, bench.take_all())


# --- memory ---------------------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_split_and_later_ones_are_smaller(bench: Bench) -> None:
    worker, runner = processor(bench, "crowded")
    module = module_of(runner)
    assert isinstance(module, Crowded)
    module.room = ROOM_FOR
    for i in range(4):
        bench.submit(sound(i))
    counts = process(worker, bench.take_all())
    replies = bench.replies()
    assert counts.failed == 0 and [reply.outcome for reply in replies] == [Outcome.OK] * 4
    assert {reply.batch_size for reply in replies} == {ROOM_FOR}
    assert worker.size.look(now_ns()) == worker.size.ceiling.limit == ROOM_FOR


def test_an_instance_without_room_for_one_item_leaves(bench: Bench) -> None:
    bench.submit(sound(0))
    bench.submit(sound(1, first=FAIL))
    with pytest.raises(Poisoned, match="2 of 2 items failed .OutOfMemoryError: .* warm-up item: OutOfMemoryError"):
        process(processor(bench, "crowded")[0], bench.take_all())
    assert bench.replies() == []
