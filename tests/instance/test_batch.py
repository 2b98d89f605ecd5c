"""One batch: every slot is answered once, and an error reaches its culprit alone."""

from __future__ import annotations

import numpy as np
import pytest

from engine.instance.batch import BatchProcessor
from engine.shm.taker import Outcome
from engine.testing.models import FAIL, NOT_A_NUMBER
from tests.instance.conftest import FRAMES, Bench, make_runner


def sound(seed: int, *, first: float | None = None) -> np.ndarray:
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, FRAMES).astype(np.float32)
    if first is not None:
        samples[0] = first
    return samples


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
    counts = BatchProcessor(bench.taker, make_runner("loudness")).process(bench.take_all())
    assert (counts.computed, counts.failed) == (4, 0)
    for samples, reply in zip(sounds, bench.replies()):
        assert reply.outcome is Outcome.OK and reply.batch_size == 4 and reply.probabilities is not None
        np.testing.assert_allclose(reply.probabilities, expected(samples), atol=1e-5)
    assert bench.owner.statistics().free == 8


@pytest.mark.parametrize("culprit", range(4))
def test_only_the_culprit_gets_the_error(bench: Bench, culprit: int) -> None:
    for i in range(4):
        bench.submit(sound(i, first=FAIL if i == culprit else None))
    counts = BatchProcessor(bench.taker, make_runner("troubled")).process(bench.take_all())
    outcomes = [reply.outcome for reply in bench.replies()]
    assert outcomes == [Outcome.MODEL_FAILED if i == culprit else Outcome.OK for i in range(4)]
    assert counts.failed == 1


def test_a_model_error_says_what_it_was(bench: Bench) -> None:
    bench.submit(sound(0, first=FAIL))
    BatchProcessor(bench.taker, make_runner("troubled")).process(bench.take_all())
    assert bench.replies()[0].error == "ValueError: an item asked to fail"


def test_an_answer_that_is_not_finite_is_an_error_of_its_item(bench: Bench) -> None:
    bench.submit(sound(0))
    bench.submit(sound(1, first=NOT_A_NUMBER))
    BatchProcessor(bench.taker, make_runner("troubled")).process(bench.take_all())
    assert [reply.outcome for reply in bench.replies()] == [Outcome.OK, Outcome.NON_FINITE]


def test_expired_work_is_answered_uncomputed(bench: Bench) -> None:
    bench.submit(sound(0), deadline_s=-1.0)
    bench.submit(sound(1))
    counts = BatchProcessor(bench.taker, make_runner("loudness")).process(bench.take_all())
    assert counts.computed == 1
    assert [reply.outcome for reply in bench.replies()] == [Outcome.EXPIRED, Outcome.OK]


def test_cancelled_work_is_dropped_uncomputed(bench: Bench) -> None:
    bench.submit(sound(0))
    batch = bench.take_all()
    ticket = next(iter(bench.owner._outstanding.values()))
    bench.owner.abandon(ticket)
    counts = BatchProcessor(bench.taker, make_runner("loudness")).process(batch)
    assert counts.computed == 0
    assert bench.replies() == [] and bench.owner.statistics().free == 8
