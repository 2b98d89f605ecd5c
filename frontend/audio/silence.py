"""Where a recording is silent, in the arithmetic that the models were trained with.

Training split its recordings with pydub, which works on integer samples, integer root mean squares and whole
milliseconds. A chunk's edge moves by a millisecond, and a quiet chunk appears or goes, as soon as one of these is
rounded otherwise, so this module reproduces the numbers: pydub 0.25 is the oracle of its tests. What pydub does in a
Python loop over every millisecond is done here with one running sum of energies, about forty times as fast.

Units: `*_ms` are whole milliseconds, converted to frames as pydub does, by truncating ms * (rate / 1000). An energy
is a sum of squared samples over all channels. Samples stored as float are treated as 32-bit integers, or as 8-bit
ones where the file held these: pydub then counts in steps of 1/128, and in finer ones once silence is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_SILENCE_MS = 300
KEEP_SILENCE_MS = 150
THRESHOLD_DBFS = -35.0

_BLOCK_FRAMES = 65_536  # bounds the float64 temporaries; a block's energies stay exact, below 2**53 for 16 bits
Samples = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of sound between two silences, with the silence that is kept around it."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk brought to one length: cut at its end, or centred in silence."""

    start_ms: int
    end_ms: int
    start_frame: int
    samples: Samples  # `[frames, channels]` of the normalised recording
    lead_frames: int  # silence before them
    total_frames: int  # with the silence on both sides
    is_padded: bool  # whether silence was added, if only less than a frame of it


class MeasuredSound:
    """A recording brought to 0 dBFS and measured: the normalised samples and the energy of any whole milliseconds."""

    def __init__(
        self, samples: Samples, sample_rate_hz: int, *, normalise: bool = True, has_8_bits: bool = False
    ) -> None:
        """samples: `[frames, channels]`, int16, or float32 with full scale 1.0; `self.samples` is of the same kind.

        has_8_bits: float32 samples are whole steps of 1/128.
        """
        self.frames, self.channels = samples.shape
        self.sample_rate_hz = sample_rate_hz
        self.duration_ms = self.length_ms(self.frames)
        is_int16 = samples.dtype == np.int16
        self._full_scale = 32_768.0 if is_int16 else 128.0 if has_8_bits else 2.0**31
        self._step = 1.0 if is_int16 else 1.0 / self._full_scale  # one integer step in the samples' own unit
        self._factor = (_gain(peak_of(samples) / (32_768.0 if is_int16 else 1.0)) if normalise else 1.0) / self._step
        self._grid = (np.arange(self.duration_ms + 1) * (sample_rate_hz / 1000.0)).astype(np.int64)
        self.samples = np.empty(samples.shape, samples.dtype)
        self._energy = np.zeros(len(self._grid), np.int64 if is_int16 else np.float64)
        self._measure(samples)

    def silent_starts_ms(self) -> Samples:
        """The milliseconds at which MIN_SILENCE_MS of silence begin, ascending."""
        if self.duration_ms < MIN_SILENCE_MS:
            return np.empty(0, np.int64)
        energies = self._energy[MIN_SILENCE_MS:] - self._energy[:-MIN_SILENCE_MS]
        counts = (self._grid[MIN_SILENCE_MS:] - self._grid[:-MIN_SILENCE_MS]) * self.channels
        levels = np.floor(np.sqrt(energies / np.maximum(counts, 1)))
        return np.flatnonzero(levels <= _amplitude(THRESHOLD_DBFS) * self._full_scale)

    def level_dbfs(self, start_ms: int, end_frame: int, total_frames: int, *, is_padded: bool) -> float:
        """Level of what lies from `start_ms` to `end_frame`, spread over `total_frames` of which the rest is silence.

        -inf for a root mean square below one integer step. is_padded: silence was added, which has at least 16 bits.
        """
        last_ms = int(np.searchsorted(self._grid, end_frame, side="right")) - 1
        tail = self.samples[int(self._grid[last_ms]):end_frame].astype(np.float64) / self._step
        energy = float(self._energy[last_ms] - self._energy[start_ms]) + float(np.square(tail).sum())
        widening = max(1.0, 32_768.0 / self._full_scale) if is_padded else 1.0
        root_mean_square = int(math.sqrt(energy / max(1, total_frames * self.channels)) * widening)
        return 20 * math.log(root_mean_square / (self._full_scale * widening), 10) if root_mean_square else -math.inf

    def frame_at(self, position_ms: int) -> int:
        return int(position_ms * (self.sample_rate_hz / 1000.0))

    def silence_frames(self, duration_ms: int) -> int:
        """Frames of generated silence: not rounded like a position in a recording."""
        return int(self.sample_rate_hz * (duration_ms / 1000.0))

    def length_ms(self, frames: int) -> int:
        return round(1000 * (float(frames) / self.sample_rate_hz))

    def _measure(self, samples: Samples) -> None:
        """Fills `samples` with the normalised ones and `_energy[ms]` with the energy of all before that millisecond."""
        carried: Any = self._energy.dtype.type(0)
        for start in range(0, self.frames, _BLOCK_FRAMES):
            block = self._normalise(samples[start:start + _BLOCK_FRAMES])
            end = start + len(block)
            np.multiply(block, self._step, out=self.samples[start:end], casting="unsafe")
            running = np.cumsum(_energy_by_frame(block))
            first, last = np.searchsorted(self._grid, (start, end), side="right")
            self._energy[first:last] = running[self._grid[first:last] - start - 1]
            self._energy[first:last] += carried
            carried += running[-1].astype(carried.dtype)
        self._energy[self._grid >= self.frames] = carried

    def _normalise(self, block: Samples) -> Samples:
        """float64 whole numbers: scaled, clipped to the integer range, rounded down."""
        scaled = np.multiply(block, self._factor, dtype=np.float64)
        np.clip(scaled, -self._full_scale, self._full_scale - 1, out=scaled)
        return np.asarray(np.floor(scaled, out=scaled))


def split_on_silence(loudness: MeasuredSound) -> list[Chunk]:
    """The chunks between silences of at least MIN_SILENCE_MS, each with up to KEEP_SILENCE_MS of them on both sides.

    Where two chunks would share silence, it is halved between them.
    """
    ranges = [[start - KEEP_SILENCE_MS, end + KEEP_SILENCE_MS] for start, end in _sounding(loudness)]
    for before, after in zip(ranges, ranges[1:]):
        if after[0] < before[1]:
            before[1] = after[0] = (before[1] + after[0]) // 2
    clipped = [(max(start, 0), min(end, loudness.duration_ms)) for start, end in ranges]
    return [Chunk(start, end) for start, end in clipped]


def loud_chunks(loudness: MeasuredSound, length_ms: int) -> list[PlacedChunk]:
    """The chunks of `split_on_silence`, each brought to `length_ms`, less those that are then below the threshold."""
    placed = [_place(loudness, chunk, length_ms) for chunk in split_on_silence(loudness)]
    return [chunk for chunk in placed if _level_dbfs(loudness, chunk) >= THRESHOLD_DBFS]


def peak_of(samples: Samples) -> float:
    """Highest absolute sample over all channels, in the samples' own unit."""
    return max(float(samples.max()), -float(samples.min()))


def _place(loudness: MeasuredSound, chunk: Chunk, length_ms: int) -> PlacedChunk:
    start, end = loudness.frame_at(chunk.start_ms), loudness.frame_at(chunk.end_ms)
    frames = end - start  # may reach a fraction of a millisecond behind the recording, where silence follows
    chunk_ms = loudness.length_ms(frames)
    if chunk_ms > length_ms:
        frames = loudness.frame_at(length_ms)
        kept = loudness.samples[start:start + frames]
        return PlacedChunk(chunk.start_ms, chunk.start_ms + length_ms, start, kept, 0, frames, False)
    before_ms = (length_ms - chunk_ms) // 2
    lead_frames = loudness.silence_frames(before_ms)
    total_frames = lead_frames + frames + loudness.silence_frames(length_ms - chunk_ms - before_ms)
    samples = loudness.samples[start:end]
    is_padded = chunk_ms < length_ms
    return PlacedChunk(chunk.start_ms, chunk.end_ms, start, samples, lead_frames, total_frames, is_padded)


def _level_dbfs(loudness: MeasuredSound, chunk: PlacedChunk) -> float:
    end_frame = chunk.start_frame + len(chunk.samples)
    return loudness.level_dbfs(chunk.start_ms, end_frame, chunk.total_frames, is_padded=chunk.is_padded)


def _sounding(loudness: MeasuredSound) -> list[tuple[int, int]]:
    """[start, end) in milliseconds of what is not silent."""
    silences = _silences(loudness.silent_starts_ms())
    if not silences:
        return [(0, loudness.duration_ms)]
    if silences[0] == (0, loudness.duration_ms):
        return []
    starts = [0] + [end for _, end in silences]
    ends = [start for start, _ in silences] + [loudness.duration_ms]
    sounding = list(zip(starts, ends))
    if silences[-1][1] == loudness.duration_ms:
        sounding.pop()
    if sounding[0] == (0, 0):
        sounding.pop(0)
    return sounding


def _silences(starts_ms: Samples) -> list[tuple[int, int]]:
    """Joins windows that overlap or touch into ranges [start, end) in milliseconds."""
    if not len(starts_ms):
        return []
    breaks = np.flatnonzero(np.diff(starts_ms) > MIN_SILENCE_MS)
    firsts = starts_ms[np.concatenate(([0], breaks + 1))]
    lasts = starts_ms[np.concatenate((breaks, [len(starts_ms) - 1]))] + MIN_SILENCE_MS
    return list(zip(firsts.tolist(), lasts.tolist()))


def _energy_by_frame(block: Samples) -> Samples:
    return np.square(block[:, 0]) if block.shape[1] == 1 else np.asarray(np.einsum("fc,fc->f", block, block))


def _gain(relative_peak: float) -> float:
    """The factor that brings a peak (1.0 = full scale) to 0 dBFS, by way of decibels as in training.

    The detour costs the last bits, and with them now and then a sample its last step: part of the numbers.
    """
    return _amplitude(-20 * math.log(relative_peak, 10)) if relative_peak else 1.0


def _amplitude(level_db: float) -> float:
    return float(10 ** (level_db / 20))
