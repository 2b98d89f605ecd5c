"""Long recordings and many classes: what an event loop may word itself, what a thread does, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.client import Item
from engine.config import Settings
from engine.errors import InvalidField
from engine.spec import ModelDescription
from frontend.audio.decode import Recording
from frontend.audio.segment import Window
from frontend.predict.answers import MAX_LISTED, rank
from frontend.predict.context import RouteContext
from frontend.predict.dialect import Prediction
from frontend.predict.parameters import Parameters
from frontend.predict.answering import Answering
from frontend.routes.legacy import LegacyDialect
from frontend.routes.optimized import OptimizedDialect

SETTINGS = Settings()


def description_of(classes: int) -> ModelDescription:
    labels = tuple(f"class {number}" for number in range(classes))
    return ModelDescription(
        model_version="v1", input_shape=(8,), classes=classes, labels=labels, sample_rate_hz=8, segment_s=1.0,
        peak_normalise=True, device="cpu",
    )  # fmt: skip


def prediction_of(windows: int, classes: int, parameters: Parameters) -> tuple[Prediction, list[Item]]:
    samples = np.ones(8, np.int16)
    cut = [Window(number, float(number), number + 1.0, samples, 1.0) for number in range(windows)]
    recording = Recording(samples.reshape(8, 1), 8, 1, "WAV")
    chances = np.random.default_rng(3).random((windows, classes), np.float32)
    made = Prediction("r1", "night.wav", parameters, description_of(classes), recording, cut, 0)
    answers = [Item(samples) for _ in cut]
    for answer, row in zip(answers, chances, strict=True):
        answer.probabilities, answer.batch_size = row, 1
    return made, answers


def test_an_answer_of_two_thousand_windows_is_that_of_each_window() -> None:
    prediction, answers = prediction_of(2_000, 50, Parameters(top_k=5))
    value = json.loads(OptimizedDialect(SETTINGS).success(prediction, answers, 0.1).body)
    assert len(value["segments"]) == 2_000
    for segment, answer in zip(value["segments"], answers):
        found = [(row["class_index"], row["probability"]) for row in segment["top_predictions"]]
        assert found == rank(answer.probabilities, 5)
    legacy = json.loads(LegacyDialect(SETTINGS).success(prediction, answers, 0.1).body)
    assert [row["segment"] for row in legacy] == [f"night.wav#{number}" for number in range(2_000)]
    assert [row["probability"] for row in legacy[7]["predictions"]] == [p for _, p in rank(answers[7].probabilities, 3)]


@pytest.mark.parametrize(
    ("windows", "classes", "top_k", "on_the_loop"),
    [(1, 10, 5, True), (1, 1_000, 1_000, True), (64, 10, 5, True), (2_000, 10, 5, False), (10, 10_000, 5, False),
     (60, 100, 100, False)],
)  # fmt: skip
def test_an_event_loop_words_short_answers_only(windows: int, classes: int, top_k: int, on_the_loop: bool) -> None:
    answering = Answering(OptimizedDialect(SETTINGS), RouteContext(SETTINGS))
    prediction, _ = prediction_of(windows, classes, Parameters(top_k=top_k))
    assert answering.is_quickly_worded(prediction) is on_the_loop


def test_more_predictions_than_one_answer_lists_are_refused_before_they_are_computed() -> None:
    dialect, description = OptimizedDialect(SETTINGS), description_of(1_000)
    with pytest.raises(InvalidField, match=str(MAX_LISTED)) as caught:
        dialect.check_length(2_000, Parameters(top_k=1_000), description)
    assert caught.value.field == "top_k"
    dialect.check_length(200, Parameters(top_k=1_000), description)
    dialect.check_length(2_000, Parameters(top_k=1_000, min_confidence=0.5), description)
    dialect.check_length(2_000, Parameters(top_k=1_000), description_of(6))


def test_an_answer_that_grows_too_long_is_refused_while_it_is_worded() -> None:
    prediction, answers = prediction_of(600, 1_000, Parameters(top_k=1_000, min_confidence=0.01))
    with pytest.raises(InvalidField, match="16000000 characters"):
        OptimizedDialect(SETTINGS).success(prediction, answers, 0.1)
