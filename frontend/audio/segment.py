"""A recording -> the windows that the model sees, one array each at the model's rate.

Two ways. `fixed` covers the whole recording with windows of equal length and spacing; `silence` is the way the models
were trained: only what is louder than its surroundings, each chunk centred in a window (see `silence.py`). In both,
the level of the whole recording, its highest sample over all channels, decides the gain, and a window whose samples
are all the same, whatever their value, holds no sound and is not computed.

In `fixed`, a last window that would hold less than `min_window_s` is left out: a breath of sound before seconds of
padding gets confident nonsense, and a recording's answer is the highest over its windows. It stays where there is no
other window, and it is never more than half a window that is lost this way.

A window's samples are int16 where that is what the recording holds, so that a mono recording at the model's rate is
passed on without a copy; else float32. An array shorter than the window means that silence follows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.errors import AudioTooLong, InvalidField, SilentAudio
from frontend.audio.channels import INT16_FULL_SCALE, MEAN, chosen_channel, full_scale, mono
from frontend.audio.decode import Claim, Recording
from frontend.audio.resample import Float32Array, fitted, frames_after, resample, resample_blocks
from frontend.audio.silence import MeasuredSound, PlacedChunk, loud_chunks, peak_of
from frontend.audio.sndfile import BLOCK_FRAMES, Samples

SHORT_PCM_BYTES = 1 << 20  # 24 s at 22,050 Hz: about 0.1 ms of work
SHORT_FILE_BYTES = 2 * SHORT_PCM_BYTES  # with what else may lie in it
DEFAULT_MAX_DECODED_BYTES = 1 << 30
_FEW_WINDOWS = 32  # each is a slot, and a line of the answer
_FEW_COPIED_BYTES = 4 << 20  # of windows that overlap; every one is copied into its slot
_LEAST_SIGNAL = 2.0**-31  # one step of 32-bit PCM; what lies below is arithmetic, not sound
_GLANCE_FRAMES = 256
_BYTES_PER_MS = 40  # of the running sums of silence splitting


@dataclass(slots=True)
class Window:
    """One piece of a recording, to be computed as one item.

    The waveform, full scale 1.0, is `samples / 32768 * gain` for int16 and `samples * gain` for float32, followed by
    zeros up to the model's length.
    """

    index: int  # counts the windows of the recording, also those that are not computed
    start_s: float
    end_s: float  # where the recording's own sound ends, without the padding
    samples: Samples  # `[frames]`, contiguous
    gain: float
    channel: int = MEAN  # which the samples are of, counted from 1, or MEAN of all; the same in a whole recording


class _Plan(NamedTuple):
    """What the model wants."""

    rate_hz: int
    segment_s: float
    segment_frames: int
    hop_frames: int
    min_frames: int  # of a last window
    peak_normalise: bool
    max_segments: int
    max_decoded_bytes: int

    def check_count(self, count: int) -> None:
        if count > self.max_segments:
            raise AudioTooLong(f"the recording has {count} segments, at most {self.max_segments} are computed at once")

    def check_bytes(self, count: int) -> None:
        if self.max_decoded_bytes and count > self.max_decoded_bytes:
            raise AudioTooLong(f"the recording takes {count} bytes of memory, the limit is {self.max_decoded_bytes}")


def segment_recording(recording: Recording, *, sample_rate_hz: int, segment_s: float, mode: str, overlap_s: float = 0.0,
                      min_window_s: float, peak_normalise: bool = True, max_segments: int,
                      max_decoded_bytes: int = DEFAULT_MAX_DECODED_BYTES) -> list[Window]:
    """Cuts a recording into windows of `segment_s` seconds at `sample_rate_hz`; at least one is returned.

    mode: "fixed" (a window every `segment_s - overlap_s` seconds, the last one with its true `end_s` unless it is
    shorter than `min_window_s`; windows without any signal are left out) or "silence" (neither overlap_s nor
    min_window_s is used). max_decoded_bytes bounds the samples made here.

    Raises SilentAudio when no window holds a signal, AudioTooLong for more than `max_segments` windows (before they
    are made) or too much memory, InvalidField for an unknown mode or an overlap that is not in [0, segment_s).
    """
    if not 0.0 <= overlap_s < segment_s:
        raise InvalidField(f"overlap_s is {overlap_s:g}, allowed is 0 up to, but not, {segment_s:g}", field="overlap_s")
    plan = _plan(
        sample_rate_hz, segment_s, overlap_s, min_window_s, peak_normalise, max_segments, max_decoded_bytes
    )
    if mode == "fixed":
        windows = _fixed(recording, plan)
    elif mode == "silence":
        windows = list(_by_silence(recording, plan))
    else:
        raise InvalidField(f"segmentation is {mode!r}, allowed are 'silence' and 'fixed'", field="segmentation")
    if not windows:
        raise SilentAudio()
    return windows


@functools.lru_cache(maxsize=64)
def _plan(sample_rate_hz: int, segment_s: float, overlap_s: float, min_window_s: float, peak_normalise: bool,
          max_segments: int, max_decoded_bytes: int) -> _Plan:
    frames = round(segment_s * sample_rate_hz) or 1
    hop_frames = round((segment_s - overlap_s) * sample_rate_hz) or 1
    min_frames = min(round(min_window_s * sample_rate_hz), frames // 2)
    return _Plan(
        sample_rate_hz, segment_s, frames, hop_frames, min_frames, peak_normalise, max_segments, max_decoded_bytes
    )


def bytes_to_cut(claim: Claim, *, sample_rate_hz: int, mode: str) -> int:
    """About how much memory `segment_recording` takes for it, besides the recording."""
    track_bytes = 4 * frames_after(claim.frames, claim.sample_rate_hz, sample_rate_hz)
    if mode == "silence":
        duration_ms = 1000 * claim.frames // claim.sample_rate_hz
        return claim.frames * claim.channels * claim.sample_bytes + duration_ms * _BYTES_PER_MS + track_bytes
    return 0 if claim.sample_rate_hz == sample_rate_hz and claim.channels == 1 else track_bytes


def is_quickly_cut(recording: Recording, *, sample_rate_hz: int, window_frames: int, overlap_s: float, mode: str,
                   max_bytes: int = SHORT_PCM_BYTES) -> bool:
    """Whether `segment_recording` is so cheap here that it may run on an event loop.

    True for at most `max_bytes` of mono int16 at the model's rate, cut into a few fixed windows of `window_frames`.
    Never raises, whatever the overlap.
    """
    samples = recording.samples
    as_it_lies = recording.sample_rate_hz == sample_rate_hz and recording.channels == 1 and samples.dtype == np.int16
    if mode != "fixed" or not as_it_lies or samples.nbytes > max_bytes:
        return False
    most_windows = min(_FEW_WINDOWS, _FEW_COPIED_BYTES // (2 * window_frames))
    return len(samples) <= window_frames + most_windows * (window_frames - overlap_s * sample_rate_hz)


def _fixed(recording: Recording, plan: _Plan) -> list[Window]:
    source = recording.samples
    frames = len(source)
    if recording.sample_rate_hz != plan.rate_hz:
        frames = frames_after(frames, recording.sample_rate_hz, plan.rate_hz)
    count = 1
    if frames > plan.segment_frames:
        count -= (plan.segment_frames - frames) // plan.hop_frames
    ends_in_a_breath = count > 1 and frames - (count - 1) * plan.hop_frames < plan.min_frames
    if count > 1:
        plan.check_count(count - ends_in_a_breath)
    gain = 1.0
    if plan.peak_normalise:
        peak = _relative_peak(recording.samples)
        if peak < _LEAST_SIGNAL:
            return []
        gain = 1.0 / peak
    channel = MEAN if recording.channels == 1 else chosen_channel(source)
    as_it_lies = recording.channels == 1 and recording.sample_rate_hz == plan.rate_hz
    track = source[:, 0] if as_it_lies else _track(recording, channel, plan)
    if count == 1:
        end_s = frames / plan.rate_hz if as_it_lies else min(frames / plan.rate_hz, recording.duration_s)
        return [Window(0, 0.0, end_s, track, gain, channel)] if _sounds(source, channel) else []
    windows = []
    for index in range(count):
        start = index * plan.hop_frames
        end = min(start + plan.segment_frames, frames)
        # Asked before resampling, which spreads a sound over the silence beside it.
        if _sounds(source[start * len(source) // frames:-(-end * len(source) // frames)], channel):
            end_s = min(end / plan.rate_hz, recording.duration_s)
            windows.append(Window(index, start / plan.rate_hz, end_s, track[start:end], gain, channel))
    if ends_in_a_breath and len(windows) > 1 and windows[-1].index == count - 1:
        windows.pop()
    return windows


def _track(recording: Recording, channel: int, plan: _Plan) -> Samples:
    """What the model hears of the whole recording, at the model's rate: `[frames]`, contiguous."""
    samples, rate_hz = recording.samples, recording.sample_rate_hz
    if rate_hz == plan.rate_hz:
        return mono(samples, channel)
    plan.check_bytes(4 * frames_after(len(samples), rate_hz, plan.rate_hz))
    if len(samples) <= BLOCK_FRAMES:
        return resample(_as_float(mono(samples, channel)), from_hz=rate_hz, to_hz=plan.rate_hz)
    starts = range(0, len(samples), BLOCK_FRAMES)
    blocks = (_as_float(mono(samples[start:start + BLOCK_FRAMES], channel)) for start in starts)
    return resample_blocks(blocks, len(samples), from_hz=rate_hz, to_hz=plan.rate_hz)


def _by_silence(recording: Recording, plan: _Plan) -> Iterator[Window]:
    if recording.duration_s > plan.max_segments * plan.segment_s:
        plan.check_count(math.ceil(recording.duration_s / plan.segment_s))
    plan.check_bytes(int(recording.duration_s * 1000) * _BYTES_PER_MS)
    if _relative_peak(recording.samples) < _LEAST_SIGNAL:
        return
    channel = chosen_channel(recording.samples)
    loudness = MeasuredSound(
        recording.samples,
        recording.sample_rate_hz,
        normalise=plan.peak_normalise,
        has_8_bits=recording.has_8_bits,
    )
    chunks = loud_chunks(loudness, round(plan.segment_s * 1000))
    plan.check_count(len(chunks))
    plan.check_bytes(len(chunks) * plan.segment_frames * 4)
    for index, chunk in enumerate(chunks):
        track = mono(chunk.samples, channel)
        if _has_signal(track):
            end_s = min(chunk.end_ms / 1000, recording.duration_s)
            samples = _placed(track, chunk, recording.sample_rate_hz, plan)
            yield Window(index, chunk.start_ms / 1000, end_s, samples, 1.0, channel)


def _placed(track: Samples, chunk: PlacedChunk, rate_hz: int, plan: _Plan) -> Samples:
    """The chunk with its silence around it, at the model's rate. At that rate already, what follows it is left off."""
    end = chunk.lead_frames + len(track)
    if rate_hz == plan.rate_hz:
        padded = np.zeros(end, track.dtype)
        padded[chunk.lead_frames:] = track
        return padded[:plan.segment_frames]
    whole = np.zeros(max(1, chunk.total_frames), np.float32)
    whole[chunk.lead_frames:end] = _as_float(track)
    return fitted(resample(whole, from_hz=rate_hz, to_hz=plan.rate_hz), plan.segment_frames)


def _as_float(track: Samples) -> Float32Array:
    return track * np.float32(1.0 / INT16_FULL_SCALE) if track.dtype == np.int16 else track


def _relative_peak(samples: Samples) -> float:
    return peak_of(samples) / full_scale(samples)


def _sounds(samples: Samples, channel: int) -> bool:
    """Whether what is heard of `[frames, channels]` has a signal; mostly seen from its beginning."""
    if samples.shape[1] == 1:
        return _has_signal(samples[:, 0])
    return _has_signal(mono(samples[:_GLANCE_FRAMES], channel)) or _has_signal(mono(samples, channel))


def _has_signal(track: Samples) -> bool:
    """Whether the samples are not all the same."""
    # Nearly every window shows it at once; only a constant is read to its end.
    if not len(track):
        return False
    if track.dtype == np.int16:  # one step of 16 bits is far above the least signal
        first = track[0]
        if first != track[-1] or np.count_nonzero(track[:_GLANCE_FRAMES] != first):
            return True
        return bool(np.count_nonzero(track != first))
    return _spread(track[:_GLANCE_FRAMES]) >= _LEAST_SIGNAL or _spread(track) >= _LEAST_SIGNAL


def _spread(track: Samples) -> float:
    return float(track.max()) - float(track.min())
