"""What every rival does with a recording: the same model on one thread, the same decoder, the same answer."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from benchmarks import models
from benchmarks.rivals.sizes import TOP
from benchmarks.workloads import LABELS, WORKLOAD_VARIABLE, WORKLOADS

Answer = list[dict[str, Any]]  # the likeliest first: label, score


def waveform(body: bytes) -> NDArray[np.float32]:
    """float32 [frames] of a recording that is as long as the model's window."""
    samples, _ = soundfile.read(io.BytesIO(body), dtype="float32", always_2d=True)
    track: NDArray[np.float32] = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    return track


class Classifier:
    """The model of the workload that the environment names, in this process."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._model = getattr(models, WORKLOADS[os.environ[WORKLOAD_VARIABLE]].model)()

    def answers(self, waveforms: Sequence[NDArray[np.float32]], *, top: int = TOP) -> list[Answer]:
        """One for each of the waveforms, which are computed together."""
        with torch.inference_mode():
            probabilities = self._model(torch.from_numpy(np.stack(waveforms))).softmax(dim=1)
            scores, classes = probabilities.topk(top, dim=1)
        return [_answer(*row) for row in zip(scores.tolist(), classes.tolist(), strict=True)]


def _answer(scores: Sequence[float], classes: Sequence[int]) -> Answer:
    return [{"label": LABELS[index], "score": score} for score, index in zip(scores, classes, strict=True)]
