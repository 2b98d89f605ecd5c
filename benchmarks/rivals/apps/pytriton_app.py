"""PyTriton: Triton whose models are functions of this program."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.envelopes import INPUT, OUTPUT
from benchmarks.rivals.apps.model import Classifier, waveform
from benchmarks.rivals.sizes import BATCH, INSTANCES, PORT_VARIABLE, WINDOW_MS

Bodies = NDArray[np.object_]  # [n, 1] of bytes


def _instance() -> Callable[[Bodies], dict[str, Bodies]]:
    classifier = Classifier()

    @batch
    def answer(**inputs: Bodies) -> dict[str, Bodies]:
        answers = classifier.answers([waveform(body) for body in inputs[INPUT][:, 0]])
        return {OUTPUT: np.array([[json.dumps(answer).encode()] for answer in answers], np.object_)}

    return answer


if __name__ == "__main__":
    http, grpc, metrics = map(int, os.environ[PORT_VARIABLE].split(","))
    here = {"http_address": "127.0.0.1", "grpc_address": "127.0.0.1", "metrics_address": "127.0.0.1"}
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    with Triton(config=TritonConfig(**here, **ports)) as triton:
        triton.bind(
            model_name="classify",
            infer_func=[_instance() for _ in range(INSTANCES)],
            inputs=[Tensor(name=INPUT, dtype=bytes, shape=(1,))],
            outputs=[Tensor(name=OUTPUT, dtype=bytes, shape=(1,))],
            config=ModelConfig(
                max_batch_size=BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=WINDOW_MS * 1000)
            ),
            strict=False,
        )
        triton.serve()
