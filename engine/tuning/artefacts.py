"""Which file a form of a model is computed from: names in the folder of what trials have found."""

from __future__ import annotations

from engine.forms import ModelForm, Precision, RuntimeName

EXPORTED = "fp32.onnx"  # the network as it came; what computes in bf16 or fp16 reads the same numbers


def artefact_of(form: ModelForm) -> str:
    """The name of the file that `form` needs; empty: it needs none, the loaded model does.

    Forms of both runtimes share files: ONNX is what they have in common.
    """
    if form.runtime is RuntimeName.TORCH:
        return ""
    if form.precision is Precision.INT8:
        return f"int8_{form.variant}.onnx" if form.variant else "int8.onnx"
    return EXPORTED
