"""An ONNX file under ONNX Runtime.

No library of custom operators is ever loaded, so that no code that lies beside a file runs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from engine.models.onnx_shape import OnnxValue
from engine.models.quiet_onnxruntime import onnxruntime

_ERRORS_ONLY = 3  # severity of what it logs; below it are remarks on graphs that nobody here has drawn
_FAILED = onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException
_TENSOR = re.compile(r"tensor\((\w+)\)")
# "[ONNXRuntimeError] : 1 : FAIL : Load model from PATH failed:FILE:LINE SIGNATURE what is wrong"
_WRAPPING = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(Fatal error: )?(/onnxruntime_src/\S+ .*\) )?"
)


class OnnxSession:
    """One file, loaded to compute on the CPU with `threads` threads; called from one thread."""

    def __init__(self, path: Path, *, threads: int) -> None:
        """Raises whatever ONNX Runtime raises."""
        self._session = onnxruntime.InferenceSession(
            str(path), _options(onnxruntime.SessionOptions(), threads), providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(map(_value, self._session.get_inputs()))
        self.outputs = tuple(map(_value, self._session.get_outputs()))
        self.notes: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, output: str, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output of this name for `batch` in the first input. Raises RuntimeError, and others of ONNX Runtime's."""
        try:
            found: npt.NDArray[Any] = self._session.run([output], {self.inputs[0].name: batch})[0]
        except _FAILED as error:  # as torch would say it: too little memory is known by kind and words
            raise RuntimeError(told(str(error))) from error
        return found


def told(text: str) -> str:
    """What ONNX Runtime says in an error, in one line and without where in its source it says so."""
    return " ".join(_WRAPPING.sub("", text).split())


def _options(options: Any, threads: int) -> Any:
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait for the next operator by spinning would take a frontend's time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # One arena for what a batch needs, which grows by what it needs. In the process's own heap, which an instance never
    # gives back, blocks of every size and alignment left twice as much behind (ResNet18, batches of 1 to 8: 139 MB, in
    # the arena 78); so did arenas that double, and a plan of its memory for each batch size.
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    return options


@functools.cache
def _register_arena() -> None:
    """For all sessions of the process that ask for it."""
    arena = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    by_what_is_needed = onnxruntime.OrtArenaCfg(
        {"arena_extend_strategy": 1, "initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    )
    onnxruntime.create_and_register_allocator(arena, by_what_is_needed)


def _value(declared: Any) -> OnnxValue:
    tensor = _TENSOR.fullmatch(declared.type)
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in declared.shape)
    return OnnxValue(declared.name, tensor[1] if tensor else declared.type, shape)
