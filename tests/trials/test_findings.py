"""What follows of what was measured: which forms are worth comparing, which serves, what is said of the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from engine.config import Settings
from engine.core.gate import Agreement
from engine.forms import EAGER, ModelForm, Precision
from engine.trials.findings import TrialFindings
from engine.trials.stage_request import StageReport
from engine.tuning import candidates
from engine.tuning.candidates import EDGES_FP32, candidates_for, kinder, unavailable
from engine.tuning.terms import TuningTerms

GOOD = Agreement(
    windows=512, top1=1.0, close=1.0, largest=1e-5, alone=1e-5, batch_size=1, followed=1.0, unusable=""
)
BAD = dataclasses.replace(GOOD, largest=0.5, alone=0.5)
ORT_FP32, OV_FP32, ORT_INT8, OV_INT8, BF16 = (
    ModelForm.named(name)
    for name in ("onnxruntime-fp32", "openvino-fp32", "onnxruntime-int8", "openvino-int8", "torch-bf16")
)


def findings(precision: str = "fp32") -> TrialFindings:
    made = TrialFindings(TuningTerms.of(Settings(precision=precision)))
    made.note_eager({1: 20.0, 8: 20.0}, seconds=3.0)
    return made


def report(speed: float, agreement: Agreement | None) -> StageReport:
    found: dict[str, Any] | None = None if agreement is None else dataclasses.asdict(agreement)
    return StageReport(values={"items_per_s": {"1": speed, "8": speed}, "agreement": found}, seconds=1.0)


def test_the_fastest_that_is_allowed_wins_and_others_say_what_they_need() -> None:
    found = findings()
    assert found.note(OV_INT8, report(100.0, GOOD)) == ""
    assert [found.has_winner, found.note(ORT_FP32, report(30.0, GOOD)), found.has_winner] == [False, "", True]
    choice = found.choice()
    assert (choice.form, choice.gain) == (ORT_FP32, 1.5)
    assert [(each.form, each.refused, each.needs) for each in found.results()] == [
        ("eager", "", ""), ("openvino-int8", "precision=fp32 does not take it", "auto"), ("onnxruntime-fp32", "", ""),
    ]
    assert found.results()[2].items_per_s == {1: 30.0, 8: 30.0} and found.results()[2].windows == 512


def test_a_form_is_compared_only_where_it_could_be_chosen() -> None:
    found = findings("auto")
    assert 20.0 < found.worth_items_per_s(ORT_FP32) <= 22.0
    found.note(OV_INT8, report(100.0, GOOD))
    assert found.worth_items_per_s(ORT_INT8) > 100.0
    assert found.worth_items_per_s(ORT_FP32) <= 22.0
    assert found.note(ORT_INT8, report(90.0, None)) == "no faster than openvino-int8: its answers were not compared"
    assert found.note(BF16, report(10.0, None)) == (
        "0.50 times as fast as the eager form: its answers were not compared"
    )


def test_what_the_gate_refuses_leaves_its_place_to_others() -> None:
    found = findings("auto")
    assert "largest difference" in found.note(OV_INT8, report(100.0, BAD))
    assert found.was_refused_by_gate(OV_INT8) and not found.was_refused_by_gate(ORT_INT8)
    assert found.worth_items_per_s(ORT_INT8) <= 22.0
    assert kinder(OV_INT8) == ModelForm(OV_INT8.runtime, OV_INT8.precision, EDGES_FP32)
    assert kinder(ModelForm(OV_INT8.runtime, OV_INT8.precision, EDGES_FP32)) is None and kinder(BF16) is None


def test_a_precision_that_was_asked_for_is_compared_however_slow() -> None:
    found = findings("int8")
    assert found.worth_items_per_s(OV_INT8) == 0.0
    found.note(OV_INT8, report(5.0, GOOD))
    assert found.choice().form == OV_INT8
    found = findings("int8")
    found.refuse(OV_INT8, "openvino is not installed")
    assert found.choice().form is None and "not installed" in found.choice().reason


def test_a_stage_that_failed_is_told_as_it_ended() -> None:
    found = findings()
    assert found.note(ORT_FP32, StageReport(failed="it was killed", seconds=2.0)) == "it was killed"
    assert found.results()[1].seconds == 2.0 and found.choice().form == EAGER


def test_forms_that_could_serve_are_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "instruction_sets", lambda: frozenset({"avx512_bf16"}))
    names = [each.form.name for each in candidates_for("cpu", ["fp32"])]
    assert names[:2] == ["onnxruntime-fp32", "openvino-fp32"]
    assert set(names[2:]) == {"openvino-int8", "onnxruntime-int8", "openvino-bf16", "torch-bf16"}
    assert candidates_for("cpu", ["fp32", "bf16", "fp16", "int8"])[0].form == OV_INT8
    monkeypatch.setattr(candidates, "instruction_sets", lambda: frozenset({"avx2"}))
    assert not any("bf16" in each.form.name for each in candidates_for("cpu", []))
    on_cuda = [each.form.name for each in candidates_for("cuda:0", ["bf16"])]
    assert on_cuda == ["torch-bf16-graph", "torch-bf16", "torch-fp16-graph", "torch-fp32-graph", "torch-fp16"]


def test_a_runtime_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "installed_version", lambda name: "" if name == "openvino" else "1")
    refused = {each.form.name: each.refused for each in candidates_for("cpu", ["fp32"])}
    assert refused["openvino-fp32"] == "openvino is not installed: pip install openvino"
    assert refused["onnxruntime-fp32"] == ""


def test_a_precision_that_no_trial_could_bring_is_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "instruction_sets", lambda: frozenset({"avx512_bf16"}))
    assert [unavailable(each, "cpu") for each in (Precision.FP32, Precision.BF16, Precision.INT8)] == ["", "", ""]
    assert "this processor has no instructions" in unavailable(Precision.FP16, "cpu")
    assert "nothing computes it on cuda" in unavailable(Precision.INT8, "cuda:0")
    monkeypatch.setattr(candidates, "installed_version", lambda name: "")
    told = unavailable(Precision.INT8, "cpu")
    assert "onnxruntime is not installed" in told and "openvino is not installed" in told
