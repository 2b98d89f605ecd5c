"""Every form that was tried is shown with its speed, how far its answers agree, and why it may not serve."""

from __future__ import annotations

from typing import Any

from engine.core.tuning import Tuning
from engine.supervisor.tuning_figures import TuningFigures
from engine.tuning.result import CandidateResult, TuningResult
from tests.browser.browser_page import BrowserPage

CANDIDATES = (
    CandidateResult(form="eager", items_per_s={1: 31.25, 4: 28.0}),
    CandidateResult(form="openvino-int8", items_per_s={4: 191.2}, windows=512, top1=0.998, close=0.9, largest=0.021,
                    refused="precision=fp32 does not take it", needs="auto"),
    CandidateResult(form="torch-bf16", items_per_s={4: 88.0}, windows=512, top1=1.0, close=0.5, largest=0.31,
                    refused="a probability differs by 0.31"),
    CandidateResult(form="onnxruntime-fp32", items_per_s={4: 44.0}, windows=512, top1=1.0, close=1.0, largest=7e-7),
)  # fmt: skip
RESULT = TuningResult(
    winner="onnxruntime-fp32", speedup=1.41, candidates=CANDIDATES, device="cpu", processor="one", versions={},
    finished_at_s=1.0, seconds=60.0, sounds="made by rules",
)  # fmt: skip
NEEDS = "precision=fp32 does not take it; precision=auto would let it serve"
SHOWN = """({ candidateRows, tuningNote, TUNING_COLUMNS }, tuning) => ({
    rows: candidateRows(tuning).map((row) => TUNING_COLUMNS.map((column) => column.of(row))),
    note: tuningNote(tuning),
})"""


def shown(page: BrowserPage, tuning: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = page.call("tuning.js", SHOWN, tuning)
    return found


def test_each_candidate_says_how_fast_it_is_and_why_it_does_not_serve(plain_page: BrowserPage) -> None:
    figures, tuning = TuningFigures(), Tuning()
    figures.result = RESULT
    told = {**figures.describe(tuning), "state": "won", "form": RESULT.winner}
    found = shown(plain_page, told)
    assert found["rows"] == [
        ["eager", "done", "31", "–", "–", ""],
        ["openvino-int8", "refused", "191", "2.1e-2", "99.8 % of 512", NEEDS],
        ["torch-bf16", "refused", "88", "3.1e-1", "100 % of 512", "a probability differs by 0.31"],
        ["onnxruntime-fp32", "serves", "44", "7.0e-7", "100 % of 512", ""],
    ]
    assert found["note"] == (
        "A faster form serves, 1.4 times as fast. Sounds: made by rules"
    )


def test_where_nothing_is_tuned_that_is_said(plain_page: BrowserPage) -> None:
    told = {**TuningFigures().describe(Tuning()), "state": "off", "reason": "tuning=off"}
    assert shown(plain_page, told) == {"rows": [], "note": "Off: tuning=off"}
