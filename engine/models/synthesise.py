"""Sounds for the six published classes: what the demo model is trained on and judged by.

They are caricatures made from rules, not recordings: a rule's sound, then an echo, a recorder's colouring and the noise
of the night. A model trained on them shows that the engine works; it is no judge of real nights. Invariant: the same
label and seed give the same samples.

    python -m engine.models.synthesise amphibian_call frogs.wav

writes one of them to a file, so that there is something to upload before the first recording.
"""

from __future__ import annotations

import argparse
import wave

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from engine.errors import ConfigError
from engine.models.sound_parts import SAMPLE_RATE_HZ, Sound, frames_of, noise
from engine.models.sound_rhythm import wander
from engine.models.sound_rules import RULES

WINDOW_S = 8.0


def _recorded(rng: Generator, sound: Sound) -> Sound:
    """The sound as a recorder in the field hears it: echoes, a coloured response, hiss, and wind on the microphone."""
    heard = sound.copy()
    for delay in rng.integers(200, 4000, rng.integers(0, 4)):
        heard[delay:] += rng.uniform(0.05, 0.35) * sound[:-delay]
    bins_hz = np.fft.rfftfreq(heard.size, 1 / SAMPLE_RATE_HZ)
    response = (np.maximum(bins_hz, 50.0) / 1000.0) ** (rng.uniform(-3, 3) / 6.02)
    heard = np.fft.irfft(np.fft.rfft(heard) * response, heard.size)
    hiss = noise(rng, heard.size, tilt_db=rng.uniform(-6, 0)) * (0.7 + 0.6 * wander(rng, heard.size, 0.5))
    # Wind may be louder than any animal, as on most real nights: it lies below their voices.
    wind = noise(rng, heard.size, tilt_db=rng.uniform(-12, -6)) * (0.5 + wander(rng, heard.size, 1.0))
    heard /= np.abs(heard).max() + 1e-9
    return np.asarray(heard + 10.0 ** (rng.uniform(-60, -28) / 20) * hiss + 10.0 ** (rng.uniform(-60, -14) / 20) * wind)


def synthesise(label: str, seed: int) -> NDArray[np.float32]:
    """One window as the engine serves it: float32 [176400], 22,050 Hz, peak 1, on the grid of 16-bit samples.

    A third of the sounds are shorter than the window and centred in digital silence, as splitting on silence leaves
    them. Raises ConfigError for a label without rules.
    """
    if label not in RULES:
        raise ConfigError(f"no rules for the label {label!r}; there are rules for {', '.join(RULES)}")
    rng = np.random.default_rng([seed, *label.encode()])
    frames = frames_of(WINDOW_S)
    kept = frames_of(rng.uniform(2.0, 7.5)) if rng.random() < 1 / 3 else frames
    sound = _recorded(rng, RULES[label](rng, kept))
    window = np.zeros(frames)
    start = (frames - kept) // 2
    window[start:start + kept] = np.round(32767 * sound / np.abs(sound).max()) / 32767
    return window.astype(np.float32)


def main() -> None:
    """Writes one synthesised window as a 16-bit WAV file."""
    parser = argparse.ArgumentParser(prog="python -m engine.models.synthesise")
    parser.add_argument("label", choices=sorted(RULES))
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    samples = np.round(32767 * synthesise(options.label, options.seed)).astype("<i2")
    with wave.open(options.path, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, samples.size, "NONE", ""))
        file.writeframes(samples.tobytes())


if __name__ == "__main__":
    main()
