"""Answers of rivals are read from whatever they are wrapped in, and only right ones pass."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.rivals.answers import WrongAnswer, difference, scores

_MODEL = {"class_0": 0.4, "class_1": 0.3, "class_2": 0.15, "class_3": 0.1495, "class_4": 0.0005}
_TOP = {"class_0": 0.4, "class_1": 0.3, "class_2": 0.15}
_ROWS = [{"label": label, "score": score} for label, score in _TOP.items()]


@pytest.mark.parametrize(
    "answer",
    (
        _ROWS,
        {"outputs": [{"name": "answer", "datatype": "BYTES", "shape": [1, 1], "data": [json.dumps(_ROWS)]}]},
        {
            "predicted_label": "class_0",
            "confidence": 0.4,
            "segments": [{"predictions": [{"label": k, "class_id": 7, "probability": v} for k, v in _TOP.items()]}],
        },
    ),
    ids=("rows", "tensor", "ours"),
)
def test_probabilities_are_found_by_label(answer: object) -> None:
    assert scores(json.dumps(answer).encode()) == _TOP


@pytest.mark.parametrize(
    "body", (b"", b"[]", b"<html>", b'{"detail": "no"}', b'[{"label": "class_0"}]', b'[{"label": "a", "score": null}]')
)
def test_what_is_no_answer_is_a_wrong_one(body: bytes) -> None:
    with pytest.raises(WrongAnswer):
        scores(body)


def test_the_largest_difference_is_told() -> None:
    assert difference({**_TOP, "class_1": 0.3004}, _MODEL, 1e-3) == pytest.approx(4e-4)


def test_a_tie_may_be_won_by_either() -> None:
    assert difference({"class_0": 0.4, "class_1": 0.3, "class_3": 0.1495}, _MODEL, 1e-3) == 0.0


@pytest.mark.parametrize(
    "found",
    (
        {**_TOP, "class_1": 0.302},
        {**_TOP, "class_1": math.nan},
        {"class_0": 0.4, "class_1": 0.3},
        {**_TOP, "class_3": 0.1495},
        {"class_0": 0.4, "class_1": 0.3, "bird": 0.15},
        {"class_0": 0.4, "class_1": 0.3, "class_4": 0.0005},
        {"class_0": 0.3, "class_1": 0.4, "class_2": 0.15},
    ),
    ids=("too far", "not a number", "too few", "too many", "another label", "not the likeliest", "swapped"),
)
def test_other_answers_are_wrong(found: dict[str, float]) -> None:
    with pytest.raises(WrongAnswer):
        difference(found, _MODEL, 1e-3)
