"""An ONNX file under ONNX Runtime.

Imported by a plain local import where there is an ONNX file to serve: nobody else pays for it. No library of custom
operators is ever loaded, so that no code that lies beside a file runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from engine.models.onnx_shape import OnnxValue
from engine.models.quiet_onnxruntime import onnxruntime

_ERRORS_ONLY = 3
_TENSOR = re.compile(r"tensor\((\w+)\)")
# "[ONNXRuntimeError] : 1 : FAIL : Load model from PATH failed:FILE:LINE SIGNATURE what is wrong"
_WRAPPING = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(Fatal error: )?(/onnxruntime_src/\S+ .*\) )?"
)


class OnnxSession:
    """One file, loaded to compute on the CPU with `threads` threads; called from one thread."""

    def __init__(self, path: Path, *, threads: int) -> None:
        """Raises whatever ONNX Runtime raises."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Threads that wait for work by spinning would take the cores of the instances beside this one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(map(_value, self._session.get_inputs()))
        self.outputs = tuple(map(_value, self._session.get_outputs()))
        self.notes: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, output: str, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output of this name. Raises whatever ONNX Runtime raises."""
        found: Sequence[npt.NDArray[Any]] = self._session.run([output], {self.inputs[0].name: batch})
        return found[0]


def told(text: str) -> str:
    """What ONNX Runtime says in an error, in one line and without where in its source it says so."""
    return " ".join(_WRAPPING.sub("", text).split())


def _value(declared: Any) -> OnnxValue:
    tensor = _TENSOR.fullmatch(declared.type)
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in declared.shape)
    return OnnxValue(declared.name, tensor[1] if tensor else declared.type, shape)
