"""Which form serves: by what `precision` allows, what the gate passes, and what is worth a swap."""

from __future__ import annotations

from engine.core.form_choice import MeasuredForm, choose
from engine.core.gate import Agreement, GatePolicy
from engine.forms import EAGER, ModelForm

POLICY = GatePolicy()
EXACT = Agreement(windows=512, top1=1.0, close=1.0, largest=2e-7, alone=1e-7, batch_size=8, followed=1.0)
NEAR = Agreement(windows=512, top1=0.998, close=0.9995, largest=0.05, alone=0.03, batch_size=8, followed=0.99)
FAR = Agreement(windows=512, top1=0.5, close=0.5, largest=0.9, alone=0.9, batch_size=8, followed=0.1)


def measured(
    name: str, rate: float, agreement: Agreement | None = EXACT, *, alone: float | None = None
) -> MeasuredForm:
    speeds = {1: rate if alone is None else alone, 8: rate}
    return MeasuredForm(ModelForm.named(name), speeds, agreement)


ALL = [
    measured("eager", 23, None),
    measured("onnxruntime-fp32", 32),
    measured("openvino-fp32", 32.5),
    measured("openvino-bf16", 66, NEAR),
    measured("onnxruntime-int8", 112, NEAR),
    measured("openvino-int8", 130, FAR),
]


def chosen(forms: list[MeasuredForm], precision: str) -> str:
    form = choose(forms, precision, POLICY).form
    return form.name if form else "none"


def test_each_setting_gets_the_fastest_that_it_allows_and_the_gate_passes() -> None:
    assert chosen(ALL, "fp32") == "onnxruntime-fp32"  # as fast as OpenVINO's, and needs nothing more installed
    assert chosen(ALL, "auto") == "onnxruntime-int8"
    assert chosen(ALL, "bf16") == "openvino-bf16"
    assert chosen(ALL, "int8") == "onnxruntime-int8"


def test_of_equally_fast_forms_the_most_exact_serves() -> None:
    forms = [measured("eager", 10, None), measured("onnxruntime-int8", 20.5, NEAR), measured("torch-bf16", 20, NEAR)]
    assert chosen(forms, "auto") == "torch-bf16"
    assert chosen(forms[::-1], "auto") == "torch-bf16"


def test_a_form_that_is_hardly_faster_is_not_worth_a_swap() -> None:
    choice = choose([measured("eager", 100, None), measured("torch-fp32-compiled", 104)], "fp32", POLICY)
    assert choice.form == EAGER
    assert choice.reason == "torch-fp32-compiled is 1.04 times as fast: not worth a swap"


def test_a_form_that_makes_lone_windows_slower_is_not_taken_for_its_full_batches() -> None:
    assert chosen([measured("eager", 100, None), measured("onnxruntime-fp32", 300, alone=90)], "auto") == "eager"


def test_a_precision_asked_for_by_name_serves_even_if_it_is_slower() -> None:
    assert chosen([measured("eager", 100, None), measured("onnxruntime-int8", 80, NEAR)], "int8") == "onnxruntime-int8"


def test_a_precision_that_cannot_be_had_says_why() -> None:
    broken = MeasuredForm(ModelForm.named("onnxruntime-int8"), failed="killed by signal 9")
    choice = choose([ALL[0], broken, ALL[-1]], "int8", POLICY)
    assert choice.form is None
    assert choice.reason == (
        "no form in int8: onnxruntime-int8: killed by signal 9; openvino-int8: top-1 agreement: 50 %, at least 99.5 %"
    )
    assert choose([ALL[0]], "fp16", POLICY).reason == "no form in fp16: no candidate was tried"


def test_a_form_whose_answers_were_not_compared_never_serves() -> None:
    forms = [measured("eager", 10, None), measured("onnxruntime-fp32", 90, None)]
    assert chosen(forms, "fp32") == chosen(forms, "auto") == "eager"


def test_a_batch_size_that_does_not_fit_is_no_hindrance() -> None:
    small = MeasuredForm(ModelForm.named("onnxruntime-fp32"), {1: 40.0, 2: 50.0}, EXACT)
    assert chosen([measured("eager", 23, None), small], "fp32") == "onnxruntime-fp32"
