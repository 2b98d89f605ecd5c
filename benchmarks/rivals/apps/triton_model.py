"""Triton's Python backend: one process for each instance, groups of requests that Triton's batcher has put together."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as backend

from benchmarks.envelopes import INPUT, OUTPUT
from benchmarks.rivals.apps.model import Answer, Classifier, waveform


class TritonPythonModel:
    """The name that the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Called once in each process."""
        self._classifier = Classifier()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each of the requests, each of which brings one recording."""
        bodies = [backend.get_input_tensor_by_name(request, INPUT).as_numpy().item() for request in requests]
        return [_response(answer) for answer in self._classifier.answers([waveform(body) for body in bodies])]


def _response(answer: Answer) -> Any:
    text = np.array([[json.dumps(answer).encode()]], np.object_)
    return backend.InferenceResponse(output_tensors=[backend.Tensor(OUTPUT, text)])
