"""Mosec: a front of its own, processes of Python behind it, batches that wait for WINDOW_MS at most."""

from __future__ import annotations

import numpy as np
from mosec import Server, Worker
from numpy.typing import NDArray

from benchmarks.rivals.apps.model import Answer, Classifier, waveform
from benchmarks.rivals.sizes import ANSWER_S, BATCH, INSTANCES, ROUTE, WINDOW_MS


class Classify(Worker):
    """One process with the model."""

    def __init__(self) -> None:
        super().__init__()
        self._classifier = Classifier()

    def deserialize(self, data: bytes) -> NDArray[np.float32]:
        return waveform(data)

    def forward(self, data: list[NDArray[np.float32]]) -> list[Answer]:
        return self._classifier.answers(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Classify, num=INSTANCES, max_batch_size=BATCH, max_wait_time=WINDOW_MS, timeout=ANSWER_S, route=ROUTE
    )
    server.run()
