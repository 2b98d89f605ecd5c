"""Whatever a model returns that cannot be served is told in words that its owner can use."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from engine.models.outputs import UnusableOutput, checked_logits

WRONG: list[tuple[Any, str]] = [
    (None, "not None; does its forward end without a return"),
    ({"logits": torch.zeros(2, 3), "hidden": 1}, "not a dict with logits, hidden; return the one tensor"),
    ((torch.zeros(2, 3), None), "not a tuple of 2; return the one tensor"),
    ([torch.zeros(3)] * 2, "not a list of 2"),
    (np.zeros((2, 3)), r"not a numpy\.ndarray; wrap it in torch\.from_numpy"),
    (3.0, "not a float"),
    (torch.zeros(2, 3, dtype=torch.int64), "floating-point logits .*, not int64"),
    (torch.zeros(2, 3, dtype=torch.bool), "not bool"),
    (torch.zeros(2, 3, dtype=torch.complex64), "not complex64"),
    (torch.zeros(2), r"answered shape \(2,\) for a batch of 2: .* one class returns \(batch, 1\)"),
    (torch.zeros(3), r"shape \(3,\) for a batch of 2: expected \(2, classes\); .* takes the batch dimension away"),
    (torch.tensor(1.0), r"shape \(\) for a batch of 2"),
    (torch.zeros(2, 7, 3), r"shape \(2, 7, 3\) .* mean or the maximum over time"),
    (torch.zeros(2, 3, 1), r"shape \(2, 3, 1\) .* flatten\(1\)"),
    (torch.zeros(3, 2), r"shape \(3, 2\) for a batch of 2: .* first dimension is the batch"),
    (torch.zeros(2, 0), "at least one class"),
]


@pytest.mark.parametrize(("output", "words"), WRONG)
def test_it_is_refused_in_words(output: Any, words: str) -> None:
    with pytest.raises(UnusableOutput) as caught:
        checked_logits(output, items=2)
    assert re.search(words, str(caught.value)), caught.value


def test_a_lost_batch_of_one_is_explained() -> None:
    with pytest.raises(UnusableOutput) as caught:
        checked_logits(torch.zeros(4), items=1, classes=4)
    assert str(caught.value) == (
        "the model answered shape (4,) for a batch of 1: expected (1, 4); a squeeze() without a dimension drops a batch"
        " of one: name the dimension, or use flatten(1)"
    )


def test_another_number_of_classes_than_before_is_explained() -> None:
    with pytest.raises(UnusableOutput, match=r"shape \(2, 5\) .* expected \(2, 4\); the number of classes must be the"):
        checked_logits(torch.zeros(2, 5), items=2, classes=4)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_point_type_is_taken(kind: torch.dtype) -> None:
    assert checked_logits(torch.zeros(4, 3, dtype=kind).t(), items=3, classes=4).shape == (3, 4)
