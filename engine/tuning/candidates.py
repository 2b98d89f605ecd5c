"""Which forms of a model are tried on this machine, in which order, and which cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.forms import GRAPH, ModelForm, Precision, RuntimeName
from engine.tuning.key import installed_version, instruction_sets

EDGES_FP32 = "edges_fp32"  # INT8 but for the first and last layers

_INSTALL = {
    RuntimeName.ONNXRUNTIME: "onnxruntime is not installed: pip install onnxruntime",
    RuntimeName.OPENVINO: "openvino is not installed: pip install openvino",
}
_BF16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert"}  # any of them: products in bf16 without converting each number
_FP16 = {"avx512_fp16", "amx_fp16"}

# By what they have brought on the processors that were measured; the order decides only what a time limit costs.
_BY_PROMISE = (
    ModelForm(RuntimeName.OPENVINO, Precision.INT8),
    ModelForm(RuntimeName.ONNXRUNTIME, Precision.INT8),
    ModelForm(RuntimeName.OPENVINO, Precision.BF16),
    ModelForm(RuntimeName.OPENVINO, Precision.FP16),
    ModelForm(RuntimeName.TORCH, Precision.BF16),
    ModelForm(RuntimeName.ONNXRUNTIME, Precision.FP32),
    ModelForm(RuntimeName.OPENVINO, Precision.FP32),
)
_ON_CUDA = (
    ModelForm(RuntimeName.TORCH, Precision.FP16, GRAPH),
    ModelForm(RuntimeName.TORCH, Precision.BF16, GRAPH),
    ModelForm(RuntimeName.TORCH, Precision.FP32, GRAPH),
    ModelForm(RuntimeName.TORCH, Precision.FP16),
    ModelForm(RuntimeName.TORCH, Precision.BF16),
)


@dataclass(frozen=True, slots=True)
class TrialCandidate:
    """A form to try, or why it cannot be had here."""

    form: ModelForm
    refused: str = ""


def candidates_for(device: str, allowed: Iterable[str]) -> list[TrialCandidate]:
    """Every form but the eager one; first those of precisions in `allowed`, which could serve as things are set.

    Eager networks of convolutions are laid out with their channels last already (`engine.instance.warmup`). Compiled by
    torch they would gain a fifth, less than under either runtime, and each instance would compile for half a minute. On
    CUDA it is a third, but for five seconds of every batch size, or half a minute for all of them at once.
    """
    forms = _BY_PROMISE if device == "cpu" else _ON_CUDA
    first = set(allowed)
    ordered = sorted(forms, key=lambda form: form.precision.value not in first)  # sorts stably
    possible = (form for form in ordered if _is_for_this_processor(form, device))
    return [TrialCandidate(form, _cannot_be_had(form)) for form in possible]


def kinder(form: ModelForm) -> ModelForm | None:
    """The variant to try where the gate has refused `form`; None if there is none."""
    if form.precision is not Precision.INT8 or form.variant:
        return None
    return ModelForm(form.runtime, form.precision, EDGES_FP32)


def unavailable(precision: Precision, device: str) -> str:
    """Why no form of this precision can be had on this machine, whatever the model; empty: trials will tell."""
    found = [each for each in candidates_for(device, ()) if each.form.precision is precision]
    if not found:
        kind = device.partition(":")[0]
        why = "this processor has no instructions for it" if kind == "cpu" else f"nothing computes it on {kind}"
        return f"precision={precision.value} cannot be had: {why}"
    if any(not each.refused for each in found):
        return ""
    return f"precision={precision.value} cannot be had: {'; '.join(dict.fromkeys(each.refused for each in found))}"


def _is_for_this_processor(form: ModelForm, device: str) -> bool:
    """Half precision without instructions for it is slower than none, and no refusal that anybody could act on."""
    if device != "cpu" or form.precision not in (Precision.BF16, Precision.FP16):
        return True
    return bool(instruction_sets() & (_BF16 if form.precision is Precision.BF16 else _FP16))


def _cannot_be_had(form: ModelForm) -> str:
    if form.runtime in _INSTALL and not installed_version(form.runtime.value):
        return _INSTALL[form.runtime]
    return ""
