"""What a result holds for: another processor, version, model, setting or folder of recordings has another key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from engine.config import Settings
from engine.errors import ProtocolError
from engine.tuning import key as keys
from engine.tuning.order import TrialNews, TrialOrder
from engine.tuning.terms import TuningTerms
from tests.tuning.conftest import key_of


def test_the_same_has_the_same_name(terms: TuningTerms) -> None:
    assert key_of(terms).name == key_of(terms).name
    assert key_of(terms, device="cuda:0").name == key_of(terms, device="cuda:3").name


@pytest.mark.parametrize("changed", [
    {"model_version": "abd"}, {"device": "cuda:0"}, {"threads": 2}, {"max_batch_size": 4},
])
def test_anything_else_has_another_name(terms: TuningTerms, changed: dict[str, object]) -> None:
    assert key_of(terms, **changed).name != key_of(terms).name


@pytest.mark.parametrize("changed", [
    {"precision": "auto"}, {"gate_top1": 0.9}, {"gate_close": 0.9}, {"gate_within": 0.1}, {"gate_most": 0.2},
    {"trial_limit_s": 900}, {"trial_memory_mb": 9000},
])
def test_another_setting_has_another_name(terms: TuningTerms, changed: dict[str, object]) -> None:
    assert key_of(dataclasses.replace(terms, **changed)).name != key_of(terms).name  # type: ignore[arg-type]


def test_where_results_lie_decides_nothing(terms: TuningTerms) -> None:
    assert key_of(dataclasses.replace(terms, state_dir="/elsewhere")).name == key_of(terms).name


def test_another_version_or_processor_has_another_name(terms: TuningTerms, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(terms).name
    with monkeypatch.context() as patch:
        patch.setattr(keys, "installed_version", lambda name: "9.9")
        assert key_of(terms).name != before
    with monkeypatch.context() as patch:
        patch.setattr(keys, "instruction_sets", lambda: frozenset({"avx"}))
        assert key_of(terms).name != before
    on_cuda = key_of(terms, device="cuda:0").name
    monkeypatch.setattr(keys, "graphics", lambda: ["Another"])
    assert key_of(terms, device="cuda:0").name != on_cuda and key_of(terms).name == before


def test_a_folder_of_recordings_has_another_name_once_it_holds_twice_as_many(
    terms: TuningTerms, tmp_path: Path
) -> None:
    """And not with every recording that arrives: the form of yesterday is served at the start of today."""
    folder = tmp_path / "recordings"
    heard = dataclasses.replace(terms, calibration_dir=str(folder))
    names = [key_of(terms).name, key_of(heard).name]  # without one, and with one that is not there
    (folder / "deep").mkdir(parents=True)
    assert key_of(heard).name == names[1]
    for number in range(16):
        (folder / ("deep" if number % 2 else "") / f"{number}.wav").touch()
        names.append(key_of(heard).name)
    changes = [number for number, (before, after) in enumerate(zip(names, names[1:])) if before != after]
    assert changes == [0, 1, 2, 4, 8, 16]
    (folder / "round").symlink_to(folder)
    assert key_of(heard).name == names[-1]


def test_the_processor_is_named() -> None:
    assert keys.processor_name() in keys.processor()
    assert "sse2" in keys.instruction_sets()
    assert dict(keys.installed_versions())["torch"]
    assert keys.installed_version("no-such-distribution") == ""


def test_an_order_comes_over_as_it_was_given(terms: TuningTerms) -> None:
    order = TrialOrder(
        spec={"source": "demo"}, model_version="abc", device="cpu", threads=1, max_batch_size=8, terms=terms
    )
    assert TrialOrder.from_bytes(order.to_bytes()) == order
    for nonsense in (b"", b"{}", b"3", b'{"terms": {"one": 1}}', order.to_bytes()[:-1]):
        with pytest.raises(ProtocolError):
            TrialOrder.from_bytes(nonsense)


def test_news_are_told_from_what_a_model_prints() -> None:
    news = TrialNews(state="refused", candidate="torch-bf16", text="it crashed")
    assert TrialNews.from_line(news.to_line()) == news
    for printed in (b"", b"loading weights\n", b'{"state": 1, "loss": 2}', b"3"):
        assert TrialNews.from_line(printed) is None


def test_terms_are_those_of_the_settings() -> None:
    terms = TuningTerms.of(Settings(precision="auto"), gate_most=0.5)
    assert (terms.precision, terms.gate_most, terms.gate_top1) == ("auto", 0.5, Settings().gate_top1)
    assert TuningTerms.from_json(terms.to_json()) == terms
    with pytest.raises(ProtocolError):
        TuningTerms.from_json({"precision": "auto"})
