"""When synthesised sounds happen: slow change, pulses, and sounds put into a stretch of time.

As in sound_parts, every function takes its randomness from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from engine.models.sound_parts import SAMPLE_RATE_HZ, Sound


def wander(rng: Generator, frames: int, rate_hz: float) -> Sound:
    """A curve between 0 and 1 that turns about `rate_hz` times a second."""
    knots = rng.uniform(0, 1, max(3, round(frames / SAMPLE_RATE_HZ * rate_hz) + 2))
    position = np.linspace(0, knots.size - 1.001, frames)
    left = position.astype(int)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    return np.asarray(knots[left] * (1 - blend) + knots[left + 1] * blend)


def pulses(frames: int, rate_hz: float, width: float) -> Sound:
    """Smooth pulses, `rate_hz` a second, each `width` (0..1) of its period long: amplitudes within 0 and 1."""
    position = (np.arange(frames) * rate_hz / SAMPLE_RATE_HZ) % 1.0
    return np.asarray(np.where(position < width, np.sin(np.pi * position / width) ** 2, 0.0))


def place(canvas: Sound, sound: Sound, at_s: float) -> None:
    """Adds a sound to the canvas; what reaches past its end is cut."""
    start = round(at_s * SAMPLE_RATE_HZ)
    room = min(sound.size, canvas.size - start)
    if room > 0:
        canvas[start:start + room] += sound[:room]


def scatter(rng: Generator, frames: int, count: int, make: Callable[[], Sound]) -> Sound:
    """`count` sounds spread over the time without system."""
    canvas = np.zeros(frames)
    for _ in range(count):
        sound = make()
        place(canvas, sound * rng.uniform(0.5, 1.0), rng.uniform(0, max(0.01, (frames - sound.size) / SAMPLE_RATE_HZ)))
    return canvas


def repeat(rng: Generator, frames: int, make: Callable[[], Sound], *, every_s: float, jitter: float = 0.05) -> Sound:
    """Sounds one after the other, `every_s` from start to start give or take `jitter` of it."""
    canvas = np.zeros(frames)
    at_s = rng.uniform(0, every_s)
    while at_s * SAMPLE_RATE_HZ < frames - 1:
        place(canvas, make() * rng.uniform(0.8, 1.0), at_s)
        at_s += every_s * rng.uniform(1 - jitter, 1 + jitter)
    return canvas
