"""Terms, keys and results to write down."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import Settings
from engine.tuning.key import TuningKey
from engine.tuning.result import CandidateResult, TuningResult
from engine.tuning.terms import TuningTerms


@pytest.fixture
def terms(tmp_path: Path) -> TuningTerms:
    return TuningTerms.of(Settings(state_dir=str(tmp_path / "state")))


def key_of(terms: TuningTerms, **changed: object) -> TuningKey:
    fields = {"model_version": "abc", "device": "cpu", "threads": 1, "max_batch_size": 8, **changed}
    return TuningKey.here(terms, **fields)  # type: ignore[arg-type]


@pytest.fixture
def key(terms: TuningTerms) -> TuningKey:
    return key_of(terms)


def result_of(**changed: object) -> TuningResult:
    candidates = (
        CandidateResult(form="eager", items_per_s={1: 20.0, 8: 23.0}, seconds=4.0),
        CandidateResult(
            form="onnxruntime-int8", items_per_s={1: 99.5, 8: 112.0}, windows=512, top1=0.998, close=0.9995,
            largest=0.02, refused="it moves a probability by 0.02", needs="auto", seconds=21.0,
        ),
    )
    fields = {
        "winner": "eager", "speedup": 1.0, "candidates": candidates, "device": "cpu", "processor": "Some Processor",
        "versions": {"torch": "2.13.0"}, "finished_at_s": 1.7e9, "seconds": 25.0, **changed,
    }
    return TuningResult(**fields)  # type: ignore[arg-type]
