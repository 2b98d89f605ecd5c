"""Ray Serve: its default proxy, two replicas, batches that wait for WINDOW_MS at most."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request

from benchmarks.rivals.apps.model import Answer, Classifier, waveform
from benchmarks.rivals.sizes import BATCH, INSTANCES, PORT_VARIABLE, ROUTE, WINDOW_MS

_UNDER_WAY = 256  # requests a replica may have


class Classify:
    """One process with the model."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WINDOW_MS / 1000)
    async def _answers(self, waveforms: list[NDArray[np.float32]]) -> list[Answer]:
        return self._classifier.answers(waveforms)

    async def __call__(self, request: Request) -> Any:
        return await self._answers(waveform(await request.body()))


if __name__ == "__main__":
    deployment = serve.deployment(
        Classify, num_replicas=INSTANCES, ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=_UNDER_WAY
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ray.init(
        address="local",
        num_cpus=INSTANCES,
        include_dashboard=False,
        _temp_dir=os.environ["TMPDIR"],
        object_store_memory=512 << 20,
        log_to_driver=False,
        logging_level="warning",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ[PORT_VARIABLE])})
    serve.run(deployment.bind(), route_prefix=ROUTE, blocking=False)
    ended.wait()
    serve.shutdown()
    ray.shutdown()
