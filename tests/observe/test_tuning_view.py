"""What people see of tuning: which form serves, how fast each is, and why the others do not."""

from __future__ import annotations

from typing import Any

from engine.core.tuning import Tuning
from engine.supervisor.tuning_figures import TuningFigures
from engine.tuning.order import TrialNews
from engine.tuning.result import CandidateResult, TuningResult
from frontend.cli.view import status_view

RESULT = TuningResult(
    winner="onnxruntime-fp32",
    speedup=1.42,
    candidates=(
        CandidateResult(form="eager", items_per_s={1: 20.0, 8: 23.04}),
        CandidateResult(form="onnxruntime-fp32", items_per_s={8: 32.5}, windows=512, top1=1, close=1, largest=6e-7),
        CandidateResult(form="onnxruntime-int8", items_per_s={8: 112.0}, windows=512, largest=0.02, needs="auto"),
        CandidateResult(form="openvino-int8", refused="openvino is not installed: pip install nightscan[openvino]"),
    ),
    device="cpu",
    processor="none",
    versions={},
    finished_at_s=0.0,
    seconds=60.0,
)


def shown(tuning: Tuning, figures: TuningFigures) -> list[str]:
    """The lines, each with single blanks."""
    status: dict[str, Any] = {"deployments": [{"deployment": "a", "state": "ready", "reason": "", "versions": [],
                                               "tuning": figures.describe(tuning)}]}  # fmt: skip
    return [" ".join(line.split()) for line in status_view(status).splitlines()]


def test_each_form_has_its_speed_and_why_it_does_not_serve() -> None:
    tuning, figures = Tuning(), TuningFigures()
    tuning.serves(2, "onnxruntime-fp32")
    figures.result = RESULT
    lines = shown(tuning, figures)
    assert "a onnxruntime-fp32 won, 1.42 times as fast" in lines
    assert "eager 23.0" in lines and "onnxruntime-fp32 32.5 6.0e-07 serves" in lines
    assert "onnxruntime-int8 112.0 2.0e-02 precision=auto would let it serve" in lines
    assert "openvino-int8 openvino is not installed: pip install nightscan[openvino]" in lines


def test_what_is_being_tried_is_shown_while_it_is() -> None:
    tuning, figures = Tuning(), TuningFigures()
    tuning.serves(1, "eager")
    tuning.looked(None)
    tuning.began()
    for news in (TrialNews(state="loading"), TrialNews(state="done", candidate="eager")):
        figures.hear(news)
    figures.hear(TrialNews(state="refused", candidate="torch-bf16", text="top-1 agreement: 90 %"))
    figures.hear(TrialNews(state="trying", candidate="openvino-fp32"))
    lines = shown(tuning, figures)
    assert "a eager running (trying openvino-fp32)" in lines
    assert "torch-bf16 top-1 agreement: 90 %" in lines and "openvino-fp32 trying" in lines


def test_nothing_is_shown_where_nothing_is_tuned() -> None:
    tuning = Tuning()
    tuning.serves(1, "eager", refused="tuning=off")
    assert not any("largest difference" in line for line in shown(tuning, TuningFigures()))


def test_what_a_process_says_does_not_grow_without_end() -> None:
    figures = TuningFigures()
    for number in range(1000):
        figures.hear(TrialNews(state="trying", candidate=f"form {number}"))
    assert len(figures.describe(Tuning())["candidates"]) < 100
