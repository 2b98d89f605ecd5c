"""What exporters write into a file's metadata is understood under the names that they give it."""

from __future__ import annotations

import json

import pytest

from engine.errors import ConfigError
from engine.models.onnx_notes import NAMES, OnnxNotes
from engine.spec import Activation


def notes(**texts: str) -> OnnxNotes:
    return OnnxNotes(texts, where="x.onnx")


@pytest.mark.parametrize("texts", [
    {"labels": '["owl", "fox"]'}, {"labels": "owl\nfox\n"}, {"labels": "owl, fox"}, {"Class Names": "['owl', 'fox']"},
    {"names": "{0: 'owl', 1: 'fox'}"}, {"names": '{"1": "fox", "0": "owl"}'}, {"id2label": '{"0": "owl", "1": "fox"}'},
    {"classes": "('owl', 'fox')"}, {"preprocessing": '{"labels": ["owl", "fox"]}'},
    {"labels": "owl,fox", "preprocessing": '{"labels": ["other"]}', "names": "['none']"},
], ids=str)  # fmt: skip
def test_labels(texts: dict[str, str]) -> None:
    assert OnnxNotes(texts, where="x.onnx").labels() == ("owl", "fox")


@pytest.mark.parametrize("text", [
    "{'owl': 0, 'fox': 1}", "{0: 'owl', 2: 'fox'}", "[]", "[1", "{'a': __import__('os')}", "[" * 5000, "{1, 2}",
])  # fmt: skip
def test_what_is_no_list_of_labels_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.onnx says labels=.* in its metadata, which is no labels .*: set labels"):
        notes(labels=text).labels()


def test_names_with_commas_are_a_list() -> None:
    named = ["Bufo bufo, Common Toad", "Owl"]
    assert notes(labels=json.dumps(named)).labels() == tuple(named)
    assert notes(labels="\n".join(named)).labels() == tuple(named)


@pytest.mark.parametrize("name", ["sample_rate_hz", "sample_rate", "Sampling-Rate", "sr"])
def test_rates(name: str) -> None:
    assert OnnxNotes({name: "48000"}, where="x.onnx").sample_rate_hz() == 48_000
    assert OnnxNotes({name: " 48000.0"}, where="x.onnx").sample_rate_hz() == 48_000


@pytest.mark.parametrize("text", ["48 kHz", "0", "-1", "nan", "inf", "22050.5", "[]"])
def test_what_is_no_rate_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="which is no sample_rate_hz .*: set sample_rate_hz, which goes before it"):
        notes(sample_rate=text).sample_rate_hz()


def test_the_rest() -> None:
    found = notes(segment_duration="3.0", activation="Sigmoid", peak_normalize="False")
    assert (found.segment_s(), found.activation(), found.peak_normalise()) == (3.0, Activation.SIGMOID, False)
    typed = notes(preprocessing='{"segment_s": 3, "peak_normalise": true, "sample_rate_hz": 48000}')
    assert (typed.segment_s(), typed.peak_normalise(), typed.sample_rate_hz()) == (3.0, True, 48_000)


def test_what_is_not_said_is_none() -> None:
    found = notes(author="me", labels="", preprocessing="by hand")
    for meaning in NAMES:
        assert getattr(found, meaning)() is None


@pytest.mark.parametrize(("name", "text"), [("activation", "relu"), ("peak_normalise", "maybe"), ("segment_s", "long")])
def test_another_word_than_is_known_is_told_only_to_who_asks(name: str, text: str) -> None:
    found = notes(**{name: text})
    assert found.labels() is None
    with pytest.raises(ConfigError, match=f"says {name}='{text}'"):
        getattr(found, name)()
