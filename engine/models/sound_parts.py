"""The parts that synthesised sounds are made of: pitches, tones, noises, envelopes. numpy only.

Every function takes its randomness from the generator it is given, so that a seed fixes every sample. Arrays are
float64 [frames] at SAMPLE_RATE_HZ.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 22_050
Sound: TypeAlias = NDArray[np.float64]


def frames_of(duration_s: float) -> int:
    """Frames of a duration, at least 2."""
    return max(2, round(duration_s * SAMPLE_RATE_HZ))


def contour(rng: Generator, duration_s: float, start_hz: float, end_hz: float, bend: float = 0.0) -> Sound:
    """A pitch that glides from one frequency to another; `bend` is the octaves by which its middle bulges."""
    position = np.linspace(0.0, 1.0, frames_of(duration_s))
    wobble = 0.01 * np.sin(2 * np.pi * (rng.uniform(0, 1) + rng.uniform(3, 9) * duration_s * position))
    return np.asarray(start_hz * (end_hz / start_hz) ** position * 2.0 ** (bend * np.sin(np.pi * position) + wobble))


def tone(pitch_hz: Sound, phase: float = 0.0) -> Sound:
    """A sine that follows a pitch; silent where the pitch passes half the sample rate instead of aliased."""
    sine = np.sin(phase + 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ)
    return np.asarray(np.where(pitch_hz < SAMPLE_RATE_HZ / 2, sine, 0.0))


def harmonics(pitch_hz: Sound, amplitudes: Sound) -> Sound:
    """A voice: sines at the multiples of a pitch, the first of them the pitch itself."""
    voice = np.zeros_like(pitch_hz)
    for number, amplitude in enumerate(amplitudes, start=1):
        if pitch_hz.min() * number < SAMPLE_RATE_HZ / 2:
            voice += amplitude * tone(pitch_hz * number)
    return voice


def fade(sound: Sound, attack_s: float, release_s: float) -> Sound:
    """The sound with raised-cosine ends, each at most half of it."""
    shaped = sound.copy()
    rise, fall = (min(frames_of(end_s), sound.size // 2) for end_s in (attack_s, release_s))
    shaped[:rise] *= 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, rise))
    shaped[sound.size - fall:] *= 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, fall))
    return shaped


def noise(
    rng: Generator, frames: int, *, tilt_db: float = 0.0, low_hz: float = 0.0, high_hz: float = 12_000.0
) -> Sound:
    """Noise of deviation 1 within a band with soft edges; `tilt_db` per octave (-3 is pink, -6 brown)."""
    bins_hz = np.fft.rfftfreq(frames, 1 / SAMPLE_RATE_HZ)
    shape = (np.maximum(bins_hz, 20.0) / 1000.0) ** (tilt_db / 6.02)
    shape = shape / np.sqrt(1.0 + (low_hz / np.maximum(bins_hz, 1.0)) ** 8) / np.sqrt(1.0 + (bins_hz / high_hz) ** 8)
    made = np.fft.irfft(np.fft.rfft(rng.standard_normal(frames)) * shape, frames)
    return np.asarray(made / (made.std() + 1e-12))
