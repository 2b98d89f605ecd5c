"""One rate -> another, in high quality (soxr "HQ": about 20 bits, linear phase), delay-free and of exact length.

What is long goes through block by block, so that of a whole recording only the result is ever held as floats; libsoxr
gives the same samples, to the last bit, however its input is cut.

libsoxr gives up the interpreter lock while it works, but 10 s of sound take a few milliseconds: not for an event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def resample_blocks(blocks: Iterable[Float32Array], frames: int, *, from_hz: int, to_hz: int) -> Float32Array:
    """`resample` of all blocks one behind the other, without ever holding them together. frames: of all together.

    Raises as `resample` does.
    """
    track = np.zeros(frames_after(frames, from_hz, to_hz), np.float32)
    filled = 0
    try:
        for piece in _converted(soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ"), blocks):
            room = track[filled:filled + len(piece)]
            room[:] = piece[:len(room)]
            filled += len(room)
    except (ValueError, RuntimeError) as error:
        raise UndecodableAudio(f"cannot convert {from_hz} Hz to {to_hz} Hz: {error}") from error
    return track


def _converted(stream: Any, blocks: Iterable[Float32Array]) -> Iterator[Float32Array]:
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def fitted(samples: Float32Array, frames: int) -> Float32Array:
    """The first `frames` of a one-dimensional array, zeros after its end where it is shorter."""
    if len(samples) >= frames:
        return samples[:frames]
    padded = np.zeros(frames, samples.dtype)
    padded[:len(samples)] = samples
    return padded
