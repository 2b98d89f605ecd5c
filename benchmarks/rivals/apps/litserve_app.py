"""LitServe: a FastAPI front, processes with the model behind queues, batches that wait for WINDOW_MS at most.

Annotations are evaluated here: it makes a route of a method's, and cannot look up names.
"""

import os
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body
from numpy.typing import NDArray

from benchmarks.rivals.apps.model import Answer, Classifier, waveform
from benchmarks.rivals.sizes import ANSWER_S, BATCH, INSTANCES, PORT_VARIABLE, WINDOW_MS


class Classify(litserve.LitAPI):
    """What a process with the model does."""

    def setup(self, device: str) -> None:
        self.classifier = Classifier()

    def decode_request(self, request: Annotated[bytes, Body(media_type="audio/wav")]) -> NDArray[np.float32]:
        return waveform(request)

    def batch(self, inputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return inputs

    def predict(self, x: list[NDArray[np.float32]]) -> list[Answer]:
        return self.classifier.answers(x)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        return output

    def encode_response(self, output: Answer) -> Answer:
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=BATCH, batch_timeout=WINDOW_MS / 1000)
    # its other queue ("fast_queue") answered fewer requests in seven of nine alternating runs
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=INSTANCES, timeout=ANSWER_S)
    server.run(
        host="127.0.0.1",
        port=int(os.environ[PORT_VARIABLE]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
