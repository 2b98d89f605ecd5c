"""TorchServe: a front on the Java virtual machine, processes of Python, batches that wait for WINDOW_MS at most."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ts.torch_handler.base_handler import BaseHandler

from benchmarks.rivals.apps.model import Answer, Classifier, waveform


class Handler(BaseHandler):
    """One process with the model."""

    def initialize(self, context: Any) -> None:
        self.classifier = Classifier()
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> list[NDArray[np.float32]]:
        return [waveform(bytes(row.get("body") or row["data"])) for row in data]

    def inference(self, data: list[NDArray[np.float32]], *args: Any, **kwargs: Any) -> list[Answer]:
        return self.classifier.answers(data)

    def postprocess(self, data: list[Answer]) -> list[Answer]:
        return data
