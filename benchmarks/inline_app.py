"""What the engine replaces: a plain Flask app in which every worker holds the model and computes request by request.

An environment variable names the workload. Decoding, windows and answer are as simple as they can be; the model and
what it is given are the same as behind the engine.
"""

from __future__ import annotations

import io
import os

import numpy as np
import soundfile
import soxr
import torch
from flask import Flask, Response, jsonify, request

from benchmarks import models
from benchmarks.workloads import LABELS, WORKLOAD_VARIABLE, WORKLOADS

_TOP = 3

torch.set_num_threads(1)
_workload = WORKLOADS[os.environ[WORKLOAD_VARIABLE]]
_frames = round(_workload.sample_rate_hz * _workload.segment_s)
_model = getattr(models, _workload.model)()
application = Flask(__name__)


@application.post("/predict")
def predict() -> Response:
    """The likeliest classes of the recording in the body, over all its windows."""
    with torch.inference_mode():
        probabilities = _model(torch.from_numpy(_windows(request.get_data()))).softmax(dim=1).amax(dim=0)
    scores, classes = probabilities.topk(_TOP)
    rows = zip(scores.tolist(), classes.tolist(), strict=True)
    return jsonify([{"label": LABELS[index], "score": score} for score, index in rows])


def _windows(body: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """float32 [windows, frames] at the model's rate, the last one filled up with zeros."""
    samples, rate_hz = soundfile.read(io.BytesIO(body), dtype="float32", always_2d=True)
    track = samples.mean(axis=1)
    if rate_hz != _workload.sample_rate_hz:
        track = soxr.resample(track, rate_hz, _workload.sample_rate_hz)
    count = -(-len(track) // _frames)
    padded = np.zeros(count * _frames, np.float32)
    padded[: len(track)] = track
    return padded.reshape(count, _frames)
