"""pydub doing to a recording what was done to the ones that the models were trained on: the reference of our splitting.

pydub is old: its import warns of the coming end of audioop and of a missing ffmpeg, which is not needed here.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pydub import AudioSegment
    from pydub.silence import split_on_silence

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class OracleChunk:
    samples: Array  # `[frames, channels]`, integers, not padded
    length_ms: int
    padded: Array  # after step 4 of the pipeline: cut or centred in silence
    kept: bool


def segment_of(samples: Array, rate_hz: int) -> Any:
    """int16 or int32 `[frames, channels]` as pydub holds it."""
    return AudioSegment(
        data=samples.tobytes(), sample_width=samples.dtype.itemsize, frame_rate=rate_hz, channels=samples.shape[1]
    )


def segment_of_file(body: bytes) -> Any:
    """A WAV file of integer samples as pydub reads it."""
    return AudioSegment(data=body)


def normalised(segment: Any) -> Any:
    return segment.apply_gain(-segment.max_dBFS)


def chunks_of(segment: Any, *, length_ms: int = 8_000) -> list[OracleChunk]:
    """What becomes of a normalised recording."""
    found = split_on_silence(segment, min_silence_len=300, silence_thresh=-35, keep_silence=150)
    return [_judged(chunk, length_ms) for chunk in found]


def array_of(segment: Any) -> Array:
    values = np.array(segment.get_array_of_samples())
    return values.reshape(-1, segment.channels)


def _judged(chunk: Any, length_ms: int) -> OracleChunk:
    padded = chunk
    if len(chunk) > length_ms:
        padded = chunk[:length_ms]
    elif len(chunk) < length_ms:
        missing_ms = length_ms - len(chunk)
        before = AudioSegment.silent(duration=missing_ms // 2, frame_rate=chunk.frame_rate)
        after = AudioSegment.silent(duration=missing_ms - missing_ms // 2, frame_rate=chunk.frame_rate)
        padded = before + chunk + after
    kept = bool(padded.rms) and padded.dBFS >= -35
    return OracleChunk(array_of(chunk), len(chunk), array_of(padded), kept)
