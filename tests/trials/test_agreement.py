"""The figures of a comparison: of forms whose answers differ from the eager ones in one known way each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from engine.core.gate import Agreement, GatePolicy, verdict
from engine.forms import Precision
from engine.trials.agreement import arranged, compare, reference_of

Floats = npt.NDArray[np.float32]
Change = Callable[[Floats], Floats]

WINDOWS, CLASSES, MAX_BATCH = 512, 6, 8
POLICY = GatePolicy()


class Logits:
    """Windows that are their own logits."""

    def __init__(self, values: Floats) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Floats:
        return np.asarray(self._values[np.asarray(indices)])


def softmax(logits: Floats) -> Floats:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)


def sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)


def drawn(scale: float = 2.0, offset: float = 0.0) -> Logits:
    return Logits(np.random.default_rng(5).normal(offset, scale, (WINDOWS, CLASSES)).astype(np.float32))


def agreement(change: Change, windows: Logits | None = None, eager: Change = softmax) -> Agreement:
    """Of a form that computes `change` of the logits."""
    windows = windows or drawn()
    reference = reference_of(eager, windows, MAX_BATCH)
    return compare(change, windows, reference, max_batch=MAX_BATCH, policy=POLICY)


def refused(change: Change, windows: Logits | None = None, eager: Change = softmax) -> str:
    return verdict(agreement(change, windows, eager), POLICY, Precision.INT8)


@pytest.mark.parametrize("max_batch", [1, 2, 8, 32, 600])
def test_every_window_is_compared_once_and_in_batches_of_every_size(max_batch: int) -> None:
    batches = list(arranged(WINDOWS, max_batch))
    assert sorted(np.concatenate(batches)) == list(range(WINDOWS))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= max_batch and 1 in sizes
    assert sizes >= set(range(1, min(max_batch, 8) + 1))


def test_the_same_answers_agree_in_full() -> None:
    assert agreement(softmax) == Agreement(WINDOWS, 1.0, 1.0, 0.0, 0.0, 0, 1.0)


def test_shares_and_the_largest_difference_are_counted() -> None:
    def off(logits: Floats) -> Floats:
        answers = softmax(logits)
        answers[:, 0] += 0.03
        return answers

    figures = agreement(off)
    assert figures.close == pytest.approx(1 - 1 / CLASSES)
    assert figures.largest == pytest.approx(0.03, abs=1e-6) == figures.alone


def test_a_form_that_is_right_only_alone_is_told_by_the_size_of_the_batch() -> None:
    def first(logits: Floats) -> Floats:
        return np.repeat(softmax(logits[:1]), len(logits), axis=0)

    assert refused(first).startswith("batch size: off by 0.")


def test_a_form_that_is_wrong_only_alone_is_refused() -> None:
    def mixed_up(logits: Floats) -> Floats:
        return softmax(logits[:, ::-1] if len(logits) == 1 else logits)

    assert refused(mixed_up).startswith("top-1 agreement")


def test_a_form_that_is_wrong_for_one_size_of_batch_is_refused() -> None:
    def mixed_up(logits: Floats) -> Floats:
        return softmax(logits[:, ::-1] if len(logits) == 5 else logits)

    assert refused(mixed_up).startswith("batch size: off by 0.")


def test_answers_that_are_not_finite_are_refused_by_that_name() -> None:
    def broken(logits: Floats) -> Floats:
        answers = softmax(logits)
        answers[0, 0] = np.nan
        return answers

    assert refused(broken) == "unusable answers: not finite (NaN or infinity) in a batch of 1"


def test_answers_of_another_shape_are_refused_by_that_name() -> None:
    wanted = "unusable answers: shape (1, 5) for a batch of 1, not (1, 6)"
    assert refused(lambda logits: softmax(logits)[:, :5]) == wanted


def test_windows_of_which_the_eager_form_says_nothing_finite_are_left_out() -> None:
    windows = drawn()
    values = windows.batch(np.arange(WINDOWS)).copy()
    values[7] = np.nan
    figures = agreement(softmax, Logits(values))
    assert figures.windows == WINDOWS - 1 and not figures.unusable
    assert verdict(figures, POLICY, Precision.FP32).startswith("windows: 511 compared")


def test_a_model_that_says_nothing_finite_of_any_window_agrees_with_nothing() -> None:
    figures = agreement(softmax, Logits(np.full((WINDOWS, CLASSES), np.nan, np.float32)))
    assert verdict(figures, POLICY, Precision.FP32) == "unusable answers: the eager form itself gives nothing finite"


def test_a_tie_for_the_most_probable_class_is_no_disagreement() -> None:
    def tied(logits: Floats) -> Floats:
        answers = softmax(logits)
        answers[:, 1] = answers[:, 0] = answers.max(axis=1)
        return answers

    def tied_a_little_differently(logits: Floats) -> Floats:
        answers = tied(logits)
        answers[:, 1] += 5e-7
        return answers

    assert agreement(tied_a_little_differently, eager=tied).top1 == 1.0


def test_of_classes_that_can_be_heard_together_faint_ones_have_no_order() -> None:
    """Where nothing is heard, which of many small probabilities is the highest means nothing."""
    quiet = drawn(scale=0.1, offset=-6.0)
    noise = np.random.default_rng(1)

    def unsteady(logits: Floats) -> Floats:
        return sigmoid(logits + noise.normal(0, 0.2, logits.shape).astype(np.float32))

    figures = agreement(unsteady, quiet, sigmoid)
    assert figures.top1 == 1.0 and figures.close == 1.0


def test_of_classes_that_can_be_heard_together_one_that_is_lost_counts() -> None:
    """The other classes still agree, and so does the most probable one."""
    def deaf_to_the_second(logits: Floats) -> Floats:
        answers = sigmoid(logits)
        second = np.argsort(-answers, axis=1)[:, 1]
        answers[np.arange(len(answers)), second] *= 0.5
        return answers

    assert agreement(deaf_to_the_second, eager=sigmoid).top1 < 0.5


def test_one_class_is_judged_by_whether_it_is_heard() -> None:
    one = Logits(np.random.default_rng(2).normal(0, 3, (WINDOWS, 1)).astype(np.float32))
    assert agreement(sigmoid, one, sigmoid).top1 == 1.0
    assert refused(lambda logits: sigmoid(-logits), one, sigmoid).startswith("top-1 agreement: 0.")


def test_a_form_that_says_the_same_of_every_window_is_refused_where_the_eager_answers_hardly_differ() -> None:
    """Every published threshold passes it: the most probable class is the same, nothing is off by 0.02."""
    nearly_constant = drawn(scale=0.01)
    ahead = np.eye(CLASSES, dtype=np.float32)[0]

    def eager(logits: Floats) -> Floats:
        return softmax(logits + ahead)

    def deaf(logits: Floats) -> Floats:
        return softmax(np.zeros_like(logits) + ahead)

    figures = agreement(deaf, nearly_constant, eager)
    assert figures.top1 == 1.0 and figures.close == 1.0 and figures.largest < 0.02
    assert verdict(figures, POLICY, Precision.INT8).startswith("variation:")
    assert refused(eager, nearly_constant, eager) == ""


def test_a_model_that_says_the_same_of_every_window_takes_a_form_that_says_it_too() -> None:
    same = Logits(np.zeros((WINDOWS, CLASSES), np.float32))
    assert refused(softmax, same) == ""
    assert refused(lambda logits: softmax(logits + np.arange(CLASSES) * 0.01), same).startswith("variation:")
