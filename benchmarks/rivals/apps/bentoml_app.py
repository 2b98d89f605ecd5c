"""BentoML: two processes that serve and compute, each with an adaptive batcher of its own.

Connections are kept: closed after each request they brought fewer answers in most of six alternating runs.
"""

from __future__ import annotations

from pathlib import Path

import bentoml

from benchmarks.rivals.apps.model import Answer, Classifier, waveform
from benchmarks.rivals.sizes import ANSWER_S, BATCH, INSTANCES, ROUTE


@bentoml.service(
    workers=INSTANCES,
    traffic={"timeout": ANSWER_S, "max_concurrency": None},
    logging={"access": {"enabled": False}},
)
class Classify:
    """One process with the model."""

    def __init__(self) -> None:
        self._classifier = Classifier()

    # its batcher has no window: what it is told is how long an answer may take, and it refuses what would take longer
    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=BATCH, max_latency_ms=60_000, route=ROUTE)
    def predict(self, wav: list[Path]) -> list[Answer]:
        return self._classifier.answers([waveform(path.read_bytes()) for path in wav])
