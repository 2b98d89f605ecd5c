"""How each of the six published classes sounds, as rules of chance: pitch range, length, rhythm, harmonics.

Caricatures drawn from what field guides say of such animals. A rule takes a generator and a number of frames and gives
a clean sound of that length; its loudness means nothing. Invariant: `RULES` is in the published order of the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.random import Generator

from engine.models.sound_parts import SAMPLE_RATE_HZ, Sound, contour, fade, frames_of, harmonics, noise, tone
from engine.models.sound_rhythm import place, pulses, repeat, scatter, wander

Rule = Callable[[Generator, int], Sound]


def _one_of(rng: Generator, *rules: Rule) -> Rule:
    return rules[rng.integers(len(rules))]


# --- birds: phrases of short, fast, nearly pure syllables ------------------------------------------------------------


def _syllable(rng: Generator, centre_hz: float) -> Callable[[], Sound]:
    """One kind of syllable, the same each time but for its loudness."""
    duration_s = rng.uniform(0.04, 0.28)
    start_hz, end_hz = centre_hz * 2.0 ** rng.uniform(-0.5, 0.5, 2)
    pitch_hz = contour(rng, duration_s, start_hz, end_hz, rng.uniform(-0.4, 0.4))
    if rng.random() < 0.25:  # a buzz: the pitch itself trembles
        time_s = np.arange(pitch_hz.size) / SAMPLE_RATE_HZ
        pitch_hz = pitch_hz * 2.0 ** (0.15 * np.sin(2 * np.pi * rng.uniform(40, 120) * time_s))
    voice = harmonics(pitch_hz, np.array([1.0, rng.uniform(0, 0.15)]))
    return lambda: fade(voice, 0.012, 0.02)


def _phrase(rng: Generator) -> Sound:
    centre_hz = rng.uniform(2300, 6000)
    kinds = [_syllable(rng, centre_hz) for _ in range(rng.integers(1, 5))]
    canvas, at_s, gap_s = np.zeros(frames_of(3.0)), 0.0, rng.uniform(0.02, 0.15)
    for number in range(rng.integers(3, 14)):
        sound = kinds[number * len(kinds) // 14 if rng.random() < 0.3 else rng.integers(len(kinds))]()
        place(canvas, sound * rng.uniform(0.6, 1.0), at_s)
        at_s += sound.size / SAMPLE_RATE_HZ + gap_s
    return canvas[:min(canvas.size, frames_of(at_s))]


def _song(rng: Generator, frames: int) -> Sound:
    if rng.random() < 0.5:  # one bird that says the same again
        phrase = _phrase(rng)
        return repeat(rng, frames, lambda: phrase, every_s=phrase.size / SAMPLE_RATE_HZ + rng.uniform(0.4, 3.0))
    return scatter(rng, frames, int(rng.integers(2, 5)), lambda: _phrase(rng))


# --- mammals: low voices with many harmonics -------------------------------------------------------------------------


def _voice(rng: Generator, pitch_hz: Sound, breath: float) -> Sound:
    """Harmonics under one broad resonance, with some breath in it."""
    numbers = np.arange(1, 31)
    resonance_hz, steepness = rng.uniform(300, 1500), rng.uniform(0.6, 1.4)
    near = np.exp(-((numbers * pitch_hz.mean() - resonance_hz) / 600.0) ** 2)
    voice = harmonics(pitch_hz, (0.3 + near) * numbers ** -steepness)
    air = noise(rng, pitch_hz.size, tilt_db=-4, low_hz=120, high_hz=2500)
    return np.asarray(voice / (voice.std() + 1e-9) + breath * air)


def _bark(rng: Generator) -> Sound:
    duration_s, pitch = rng.uniform(0.08, 0.35), rng.uniform(140, 520)
    pitch_hz = contour(rng, duration_s, pitch, pitch * rng.uniform(0.6, 0.9), rng.uniform(0.1, 0.4))
    return fade(_voice(rng, pitch_hz, rng.uniform(0.3, 0.8)), 0.015, 0.08)


def _howl(rng: Generator) -> Sound:
    pitch = rng.uniform(220, 750)
    pitch_hz = contour(rng, rng.uniform(0.8, 3.0), pitch * rng.uniform(0.6, 0.9), pitch, rng.uniform(0.0, 0.4))
    return fade(_voice(rng, pitch_hz, rng.uniform(0.02, 0.1)), 0.15, 0.3)


def _growl(rng: Generator) -> Sound:
    duration_s, pitch = rng.uniform(0.3, 1.6), rng.uniform(45, 130)
    pitch_hz = contour(rng, duration_s, pitch, pitch * rng.uniform(0.7, 1.2))
    pitch_hz = pitch_hz * (1 + 0.2 * (wander(rng, pitch_hz.size, 30) - 0.5))
    return fade(_voice(rng, pitch_hz, rng.uniform(0.3, 0.8)), 0.06, 0.15)


def _mammal(rng: Generator, frames: int) -> Sound:
    kind, count = ((_bark, rng.integers(3, 10)), (_howl, rng.integers(1, 4)), (_growl, rng.integers(2, 6)))[
        rng.integers(3)]
    return scatter(rng, frames, int(count), lambda: kind(rng))


# --- insects: high, steady, mechanical -------------------------------------------------------------------------------


def _cricket(rng: Generator, frames: int) -> Sound:
    pitch_hz, rate_hz = rng.uniform(3500, 7000), rng.uniform(18, 60)
    chirp_s = rng.integers(2, 7) / rate_hz
    carrier = tone(contour(rng, chirp_s, pitch_hz, pitch_hz * rng.uniform(0.97, 1.0)))
    chirp = carrier * pulses(carrier.size, rate_hz, rng.uniform(0.5, 0.9))
    return repeat(rng, frames, lambda: chirp, every_s=chirp_s + rng.uniform(0.08, 0.6), jitter=0.03)


def _insect_trill(rng: Generator, frames: int) -> Sound:
    pitch_hz = contour(rng, frames / SAMPLE_RATE_HZ, *rng.uniform(3600, 7500) * np.array([1.0, rng.uniform(0.98, 1.0)]))
    return tone(pitch_hz[:frames]) * pulses(frames, rng.uniform(25, 110), rng.uniform(0.5, 0.9))


def _katydid(rng: Generator, frames: int) -> Sound:
    centre_hz, width_hz = rng.uniform(5500, 9000), rng.uniform(600, 2500)
    rasp = noise(rng, frames, low_hz=centre_hz - width_hz / 2, high_hz=min(10_800.0, centre_hz + width_hz / 2))
    rasp *= pulses(frames, rng.uniform(20, 200), rng.uniform(0.4, 0.95))
    if rng.random() < 0.5:
        rasp *= 0.02 + pulses(frames, rng.uniform(0.5, 4.0), rng.uniform(0.3, 0.8))
    return rasp


def _insects(rng: Generator, frames: int) -> Sound:
    canvas = np.zeros(frames)
    for loudness in 10.0 ** -rng.uniform(0.2, 1.0, rng.integers(1, 3)):
        canvas += loudness * _one_of(rng, _cricket, _insect_trill, _katydid)(rng, frames)
    return canvas


# --- amphibians: pulsed croaks and peeps, alike and in rhythm ---------------------------------------------------------


def _croak(rng: Generator) -> Sound:
    duration_s, rate_hz, pitch_hz = rng.uniform(0.12, 0.9), rng.uniform(18, 90), rng.uniform(400, 2200)
    pitch = contour(rng, duration_s, pitch_hz, pitch_hz * rng.uniform(0.85, 1.25))
    voice = harmonics(pitch, np.array([1.0, rng.uniform(0.1, 0.7), rng.uniform(0, 0.4)]))
    return fade(voice * pulses(voice.size, rate_hz, rng.uniform(0.35, 0.7)), 0.03, 0.05)


def _peep(rng: Generator) -> Sound:
    pitch_hz = rng.uniform(1100, 2100)
    pitch = contour(rng, rng.uniform(0.07, 0.2), pitch_hz, pitch_hz * rng.uniform(1.02, 1.15))
    return fade(tone(pitch), 0.02, 0.03)


def _toad(rng: Generator) -> Sound:
    pitch_hz = rng.uniform(1000, 2200)
    trill = tone(contour(rng, rng.uniform(2.0, 6.0), pitch_hz * rng.uniform(0.95, 1.0), pitch_hz))
    return fade(trill * pulses(trill.size, rng.uniform(14, 40), rng.uniform(0.5, 0.8)), 0.3, 0.2)


def _frog(rng: Generator, frames: int) -> Sound:
    call = (_croak, _croak, _peep, _toad)[rng.integers(4)](rng)
    return repeat(rng, frames, lambda: call, every_s=call.size / SAMPLE_RATE_HZ + rng.uniform(0.15, 1.3))


def _frogs(rng: Generator, frames: int) -> Sound:
    canvas = np.zeros(frames)
    for _ in range(rng.integers(1, 4)):
        canvas += rng.uniform(0.3, 1.0) * _frog(rng, frames)
    return canvas


# --- no animal: weather, water, engines -------------------------------------------------------------------------------


def _wind(rng: Generator, frames: int) -> Sound:
    gusts = 0.1 + wander(rng, frames, rng.uniform(0.2, 1.5)) ** 2
    return gusts * noise(rng, frames, tilt_db=rng.uniform(-9, -4), high_hz=rng.uniform(1500, 9000))


def _rain(rng: Generator, frames: int) -> Sound:
    drops = np.zeros(frames)
    at = rng.integers(0, frames, rng.integers(200, 3000))
    drops[at] = rng.exponential(1.0, at.size)
    splash = rng.standard_normal(160) * np.exp(-np.arange(160) / rng.uniform(8, 40))
    drops = np.convolve(drops, splash, mode="same")
    drops /= drops.std() + 1e-9
    return drops + rng.uniform(0.3, 2.0) * noise(rng, frames, tilt_db=rng.uniform(-3, 1))


def _stream(rng: Generator, frames: int) -> Sound:
    water = noise(rng, frames, tilt_db=-3, low_hz=rng.uniform(150, 500), high_hz=rng.uniform(3000, 8000))
    gurgle = noise(rng, frames, low_hz=400, high_hz=1400) * wander(rng, frames, 12) ** 3
    return water + rng.uniform(0.2, 1.2) * gurgle


def _thunder(rng: Generator, frames: int) -> Sound:
    roll = noise(rng, frames, tilt_db=-7, high_hz=rng.uniform(200, 900)) * wander(rng, frames, 4) ** 2
    decay = np.exp(-np.maximum(0.0, np.arange(frames) / SAMPLE_RATE_HZ - rng.uniform(0, 3)) / rng.uniform(0.8, 3))
    return np.asarray(roll * decay)


def _engine(rng: Generator, frames: int) -> Sound:
    pitch = rng.uniform(25, 90)
    pitch_hz = contour(rng, frames / SAMPLE_RATE_HZ, pitch, pitch * rng.uniform(0.9, 1.1))[:frames]
    hum = harmonics(pitch_hz, np.arange(1.0, 13.0) ** -rng.uniform(0.5, 1.3))
    road = noise(rng, frames, tilt_db=-5, high_hz=rng.uniform(800, 4000))
    distance = ((np.arange(frames) / SAMPLE_RATE_HZ - rng.uniform(1, 7)) / rng.uniform(0.7, 4.0)) ** 2
    return np.asarray((hum / hum.std() + rng.uniform(0.5, 2.0) * road) / (1 + distance))


def _environment(rng: Generator, frames: int) -> Sound:
    return _one_of(rng, _wind, _rain, _stream, _thunder, _engine)(rng, frames)


# --- unknown: clearly something, by none of the rules above ----------------------------------------------------------


def _clang(rng: Generator) -> Sound:
    """Partials that are no multiples of each other, ringing out."""
    duration_s, base_hz = rng.uniform(0.3, 1.8), rng.uniform(300, 1200)
    ringing = np.zeros(frames_of(duration_s))
    for partial_hz in base_hz * rng.uniform(1.0, 7.0, 5):
        ringing += rng.uniform(0.3, 1) * tone(contour(rng, duration_s, partial_hz, partial_hz * rng.uniform(0.8, 1.2)))
    return fade(ringing * np.exp(-np.linspace(0, rng.uniform(1, 4), ringing.size)), 0.01, 0.05)


def _hiss(rng: Generator) -> Sound:
    """A noisy band that sweeps."""
    duration_s = rng.uniform(0.3, 1.5)
    start_hz, end_hz = rng.uniform(800, 6000, 2)
    low = noise(rng, frames_of(duration_s), high_hz=rng.uniform(150, 500))
    return fade(low * tone(contour(rng, duration_s, start_hz, end_hz)), 0.05, 0.1)


def _clicks(rng: Generator) -> Sound:
    """Broadband clicks that come ever faster."""
    duration_s = rng.uniform(0.8, 2.5)
    frames = frames_of(duration_s)
    rate_hz = contour(rng, duration_s, rng.uniform(4, 12), rng.uniform(25, 90))
    starts = np.flatnonzero(np.diff(np.floor(np.cumsum(rate_hz) / SAMPLE_RATE_HZ)) > 0)
    train = np.zeros(frames)
    train[starts] = 1.0
    return np.convolve(train, rng.standard_normal(90) * np.exp(-np.arange(90) / 20.0))[:frames]


def _unknown(rng: Generator, frames: int) -> Sound:
    kind, count = ((_clang, rng.integers(3, 8)), (_hiss, rng.integers(3, 8)), (_clicks, rng.integers(2, 5)))[
        rng.integers(3)]
    return scatter(rng, frames, int(count), lambda: kind(rng))


RULES: Mapping[str, Rule] = MappingProxyType({
    "bird_song": _song, "mammal_call": _mammal, "insect_sound": _insects, "amphibian_call": _frogs,
    "environmental_sound": _environment, "unknown_species": _unknown,
})
