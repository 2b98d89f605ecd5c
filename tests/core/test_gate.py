"""The gate's verdict on figures: which measure refuses, in which words."""

from __future__ import annotations

import dataclasses

import pytest

from engine.core.gate import Agreement, GatePolicy, verdict
from engine.forms import Precision

POLICY = GatePolicy()
SAME = Agreement(windows=512, top1=1.0, close=1.0, largest=2e-7, alone=1e-7, batch_size=8, followed=1.0)
NAN = float("nan")


def refused(precision: Precision, **figures: object) -> str:
    return verdict(dataclasses.replace(SAME, **figures), POLICY, precision)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", Precision)
def test_equal_answers_pass_in_every_precision(precision: Precision) -> None:
    assert verdict(SAME, POLICY, precision) == ""


def test_fp32_that_is_off_by_more_than_rounding_is_refused_whatever_the_policy_allows() -> None:
    lenient = GatePolicy(top1=0.0, close=0.0, within=1.0, most=1.0)
    off = dataclasses.replace(SAME, largest=1.1e-3, alone=1.1e-3)
    assert verdict(off, lenient, Precision.FP32) == "largest difference: 0.0011, at most 0.001"
    assert verdict(off, lenient, Precision.BF16) == ""


@pytest.mark.parametrize("figures, measure", [
    ({"top1": 0.9949}, "top-1 agreement: 99.49 %, at least 99.5 %"),
    ({"close": 0.9989}, "close probabilities: 99.89 % within 0.02, at least 99.9 %"),
    ({"largest": 0.11, "alone": 0.11}, "largest difference: 0.11, at most 0.1"),
    ({"followed": 0.5}, "variation: 50 % of how answers differ from window to window, at least 90 %"),
    ({"windows": 511}, "windows: 511 compared, at least 512 are needed"),
    ({"unusable": "not finite"}, "unusable answers: not finite"),
    ({"largest": 0.7, "alone": 0.01},
     "batch size: off by 0.7 in a batch of 8, alone by 0.01; largest difference: 0.7, at most 0.1"),
    ({"largest": 0.08, "alone": 1e-7, "close": 0.9},
     "batch size: off by 0.08 in a batch of 8, alone by 1e-07; close probabilities: 90 % within 0.02, at least 99.9 %"),
])
def test_each_measure_refuses_by_its_name(figures: dict[str, object], measure: str) -> None:
    assert refused(Precision.INT8, **figures) == measure


@pytest.mark.parametrize("name", ["top1", "close", "followed"])
def test_a_share_that_is_no_number_is_refused(name: str) -> None:
    assert "nan" in refused(Precision.INT8, **{name: NAN})


@pytest.mark.parametrize("precision", Precision)
def test_a_difference_that_is_no_number_is_refused(precision: Precision) -> None:
    assert refused(precision, largest=NAN, alone=NAN).startswith("largest difference: nan")


def test_a_form_that_is_as_near_as_it_has_to_be_may_differ_by_batch_size() -> None:
    assert refused(Precision.INT8, largest=0.08, alone=1e-7) == ""


def test_on_the_thresholds_a_form_passes() -> None:
    assert refused(Precision.INT8, top1=0.995, close=0.999, largest=0.1, alone=0.1, followed=0.9) == ""
    assert refused(Precision.FP32, largest=1e-3) == ""
