"""One rate -> another, in high quality (soxr "HQ": about 20 bits, linear phase), delay-free and of exact length.

libsoxr gives up the interpreter lock while it works, but 10 s of sound take a few milliseconds: not for an event loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr

from engine.errors import UndecodableAudio

Float32Array = np.ndarray[Any, np.dtype[np.float32]]


def frames_after(frames: int, from_hz: int, to_hz: int) -> int:
    """How many frames `frames` at `from_hz` become at `to_hz`: the nearest whole number, at least 1."""
    return max(1, (2 * frames * to_hz + from_hz) // (2 * from_hz))


def resample(samples: Float32Array, *, from_hz: int, to_hz: int) -> Float32Array:
    """float32 `[frames]` at `from_hz` -> float32 `[frames_after(...)]` at `to_hz`; the same array for equal rates.

    Raises UndecodableAudio for a pair of rates so far apart that it cannot be converted.
    """
    if from_hz == to_hz:
        return samples
    try:
        converted = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    except (ValueError, RuntimeError) as error:
        raise UndecodableAudio(f"cannot convert {from_hz} Hz to {to_hz} Hz: {error}") from error
    return fitted(np.asarray(converted, np.float32), frames_after(len(samples), from_hz, to_hz))


def fitted(samples: Float32Array, frames: int) -> Float32Array:
    """The first `frames` of a one-dimensional array, zeros after its end where it is shorter."""
    if len(samples) >= frames:
        return samples[:frames]
    padded = np.zeros(frames, samples.dtype)
    padded[:len(samples)] = samples
    return padded
