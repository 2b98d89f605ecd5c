"""What is cached of a recording: its windows, their probabilities, and the facts that an answer is worded from.

Never a response: that carries the first caller's file name and wishes. Bytes, little-endian:

    offset  type      what
    0       4 bytes   "NSCV"
    4       u16       version of this form: 1
    6       u16       channels of the recording, at least 1
    8       u32       its sample rate, Hz, at least 1
    12      u32       windows, at least 1
    16      u32       classes, at least 1
    20      u32       the largest batch that a window was computed in, at least 1
    24      f64       duration of the recording, s, more than 0
    32      u16       channel that was heard, counted from 1; 0: the mean of all
    34      14 bytes  format of the file in ASCII, filled up with zeros: "WAV", "FLAC", ...
    48      windows * (u64 index, f64 start, f64 end), indices and times in order, in s
    ...     windows * classes * f32: probabilities, window by window

Nothing else, and no pickle. It may come from a server that others write to, so that whatever is strange about it is
no value at all.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

MAX_VALUE_BYTES = 4 << 20  # of what is kept; a night in windows of a model of thousands of classes is not

_MAGIC = b"NSCV"
_VERSION = 1
_HEAD = struct.Struct("<4sHHIIIIdH14s")
_WINDOW = struct.Struct("<Qdd")
_FORMAT_BYTES = 14
_MOST_CHANNELS = 0xFFFF
_MOST = 0xFFFF_FFFF
_FEW = 64  # numbers that are looked at quicker one by one
_SLACK_S = 1e-6  # of times that were rounded to samples

Probabilities = NDArray[np.float32]


@dataclass(slots=True)
class CachedWindow:
    """Where one window lies in its recording."""

    index: int
    start_s: float
    end_s: float
    channel: int  # which was heard, counted from 1, or 0, the mean of all; the same in a whole recording


class CachedAnswer(NamedTuple):
    """What the model said of one window."""

    probabilities: Probabilities  # float32 [classes], finite, read-only
    batch_size: int  # the largest of the recording


class CachedRecording(NamedTuple):
    """What an answer tells of the recording."""

    duration_s: float
    sample_rate_hz: int
    channels: int
    format: str


class CacheValue(NamedTuple):
    """A recording's windows and what was answered for each, in the same order; at least one."""

    recording: CachedRecording
    windows: Sequence[CachedWindow]
    answers: Sequence[CachedAnswer]


class Heard(Protocol):
    """What is told of a recording, whether it was decoded now or before."""

    @property
    def duration_s(self) -> float: ...

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def format(self) -> str: ...


class Place(Protocol):
    """Where a window lies in its recording, whether it was cut now or before; see `CachedWindow`."""

    @property
    def index(self) -> int: ...

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...

    @property
    def channel(self) -> int: ...


class Computed(Protocol):
    """What the model said of a window, now or before; see `CachedAnswer`."""

    @property
    def probabilities(self) -> Probabilities: ...

    @property
    def batch_size(self) -> int: ...


def encoded(recording: Heard, windows: Sequence[Place], answers: Sequence[Computed]) -> bytes | None:
    """The bytes; None for what does not fit this form: over MAX_VALUE_BYTES, or a format with a long name."""
    classes = len(answers[0].probabilities)
    size_bytes = _size_bytes(len(windows), classes)
    name = recording.format.encode("ascii", "replace")
    fits = size_bytes <= MAX_VALUE_BYTES and len(name) <= _FORMAT_BYTES and recording.channels <= _MOST_CHANNELS
    if not fits or recording.sample_rate_hz > _MOST:
        return None
    batch_size = max([answer.batch_size for answer in answers])
    head = _HEAD.pack(
        _MAGIC, _VERSION, recording.channels, recording.sample_rate_hz, len(windows), classes, batch_size,
        recording.duration_s, windows[0].channel, name,
    )  # fmt: skip
    places = [_WINDOW.pack(window.index, window.start_s, window.end_s) for window in windows]
    return b"".join([head, *places, *[answer.probabilities.tobytes() for answer in answers]])


def decoded(data: bytes, *, classes: int) -> CacheValue | None:
    """The value of a model of so many `classes`; None for everything that `encoded` would not have made."""
    if not _HEAD.size < len(data) <= MAX_VALUE_BYTES:
        return None
    magic, version, channels, rate_hz, count, found_classes, batch_size, duration_s, channel, name = (
        _HEAD.unpack_from(data)
    )
    if magic != _MAGIC or version != _VERSION or found_classes != classes or len(data) != _size_bytes(count, classes):
        return None
    if not (count and channels and rate_hz and batch_size and channel <= channels and 0.0 < duration_s < math.inf):
        return None
    format_name = _format_of(name)
    windows = _windows(data, count, channel, duration_s + _SLACK_S)
    probabilities = np.frombuffer(data, "<f4", count * classes, _HEAD.size + count * _WINDOW.size)
    if format_name is None or windows is None or not _are_finite(probabilities):
        return None
    if count == 1:
        answers = [CachedAnswer(probabilities, batch_size)]
    else:
        answers = [CachedAnswer(row, batch_size) for row in probabilities.reshape(count, classes)]
    return CacheValue(CachedRecording(duration_s, rate_hz, channels, format_name), windows, answers)


@functools.lru_cache(maxsize=64)
def _format_of(name: bytes) -> str | None:
    """None for what is no name of a format."""
    text = name.rstrip(b"\0").decode("ascii", "replace")
    return text if text.isascii() and text.isprintable() else None


def _are_finite(probabilities: Probabilities) -> bool:
    if len(probabilities) <= _FEW:
        return math.isfinite(sum(probabilities.tolist()))  # in double precision no sum of so few overflows
    return bool(np.isfinite(probabilities).all())


def _size_bytes(windows: int, classes: int) -> int:
    return _HEAD.size + windows * (_WINDOW.size + 4 * classes)


def _windows(data: bytes, count: int, channel: int, longest_s: float) -> list[CachedWindow] | None:
    """None where they are in no order, or not within `longest_s`."""
    windows = []
    least_index, least_start_s = 0, 0.0
    end = _HEAD.size + count * _WINDOW.size
    for index, start_s, end_s in _WINDOW.iter_unpack(data[_HEAD.size : end]):
        if index < least_index or not least_start_s <= start_s <= end_s <= longest_s:
            return None
        windows.append(CachedWindow(index, start_s, end_s, channel))
        least_index, least_start_s = index + 1, start_s
    return windows
