"""The forms that one model can be served in, as plain values that cross processes: no torch here.

A form is a runtime, a precision and, where there are several of these, a variant. The eager form is the model as it
came, in fp32 under torch; every other one has to agree with it before it serves (`core.gate`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from engine.errors import ProtocolError

GRAPH = "graph"  # the variant whose launches are recorded once for each batch size

_NAME = re.compile(r"([a-z]+)-([a-z0-9]+)(?:-([a-z0-9_]+))?")


class RuntimeName(str, Enum):
    """What computes a model."""

    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Precision(str, Enum):
    """The numbers that a network computes in; the spectrogram front stays in fp32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class ModelForm:
    """One way to compute a model."""

    runtime: RuntimeName = RuntimeName.TORCH
    precision: Precision = Precision.FP32
    variant: str = ""  # GRAPH, or `edges_fp32`: INT8 but for the first and last layers

    @property
    def name(self) -> str:
        """`onnxruntime-int8`, `torch-bf16-graph`; of the eager form `eager`."""
        if self == EAGER:
            return "eager"
        parts = [self.runtime.value, self.precision.value, self.variant]
        return "-".join(part for part in parts if part)

    @classmethod
    def named(cls, name: str) -> ModelForm:
        """The form of this name. Raises ProtocolError for what is no name of one."""
        if name == "eager":
            return EAGER
        parts = _NAME.fullmatch(name)
        try:
            if parts is None:
                raise ValueError(name)
            return cls(RuntimeName(parts[1]), Precision(parts[2]), parts[3] or "")
        except ValueError:
            raise ProtocolError(f"{name!r} names no form of a model") from None


EAGER = ModelForm()
