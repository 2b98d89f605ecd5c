"""From probabilities to rankings."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frontend.predict.answers import Wording, combine, labelled, rank

LABELS = ("bird_song", "mammal_call", "insect_sound")


def vector(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_a_recordings_class_is_its_highest_window() -> None:
    assert combine([vector(0.1, 0.7, 0.2), vector(0.3, 0.1, 0.6)]).tolist() == vector(0.3, 0.7, 0.6).tolist()


def test_one_window_is_taken_as_it_is() -> None:
    one = vector(0.5, 0.5)
    assert combine([one]) is one


def test_ranking_is_descending_and_equal_ones_by_index() -> None:
    assert [index for index, _ in rank(vector(0.25, 0.5, 0.25), 3)] == [1, 0, 2]


def test_fewer_classes_than_asked_for() -> None:
    assert len(rank(vector(0.9, 0.1), 5)) == 2


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32)), st.integers(1, 50))
def test_ranking_agrees_with_sorting(values: np.ndarray[tuple[int], np.dtype[np.float32]], count: int) -> None:
    expected = sorted(enumerate(values.tolist()), key=lambda pair: (-pair[1], pair[0]))[:count]
    assert rank(values, count) == expected


def test_forms() -> None:
    ranked = [(2, 0.75), (0, 0.25)]
    assert labelled(ranked, LABELS) == [
        {"label": "insect_sound", "probability": 0.75},
        {"label": "bird_song", "probability": 0.25},
    ]
    assert json.loads(Wording(LABELS).detailed(ranked, 0.5)) == [
        {"class_index": 2, "label": "insect_sound", "probability": 0.75}
    ]


@given(st.lists(st.text(), min_size=1, max_size=5), st.floats(0, 1, width=32))
def test_any_label_makes_good_json(labels: list[str], probability: float) -> None:
    ranked = [(index, probability) for index in range(len(labels))]
    found = json.loads(Wording(labels).detailed(ranked))
    assert [(row["class_index"], row["label"], row["probability"]) for row in found] == [
        (index, label, probability) for index, label in enumerate(labels)
    ]
