"""What the servers' answers are compared on: recordings that the model tells apart."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.workloads import Workload

COUNT = 10
_SEED = 7  # arbitrary


def recordings(workload: Workload) -> list[bytes]:
    """WAV files of one window each: chirps of rising pitch and loudness in noise, the same whenever they are made."""
    random = np.random.default_rng(_SEED)
    seconds = np.arange(round(workload.sample_rate_hz * workload.segment_s)) / workload.sample_rate_hz
    return [_file(_chirp(number, seconds, random), workload.sample_rate_hz) for number in range(COUNT)]


def _chirp(number: int, seconds: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    low_hz, loudness = 200 + 250 * number, 0.08 * (1 + number % 10)
    chirp = np.sin(2 * np.pi * seconds * (low_hz + 300 * seconds / seconds[-1]))
    sound: NDArray[np.float64] = loudness * chirp + 0.02 * random.standard_normal(len(seconds))
    return sound.clip(-1, 1)


def _file(samples: NDArray[np.float64], rate_hz: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, "PCM_16", format="WAV")
    return file.getvalue()
