"""Images a second of the spectrogram front, beside the same formulas as they are written down for any device.

    python -m benchmarks.front [--rounds 15] [--batch 1 8]

One thread, and seconds of the processor, not of the clock. The two are measured alternately and compared round by
round, once as glibc leaves memory, and once as it is in an instance, which keeps what a batch has used. Printed are the
medians, the ratio in the middle, and how far apart their levels are at most, in dB, over a batch of noise, a tone, half
a silence and a synthesised call.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from engine.instance.allocator import keep_freed_memory
from engine.models.mel import EFFICIENTNET_MEL, POWER_FLOOR, RANGE_FLOOR, MelSettings
from engine.models.spectrogram import SpectrogramFront
from engine.models.synthesise import synthesise

_SETTINGS = {"published": MelSettings(), "efficientnet": EFFICIENTNET_MEL}
_FRAMES = 176_400


def written_levels(front: SpectrogramFront, waveforms: Tensor) -> Tensor:
    """Decibels in one formula for the whole batch, every filter against every bin."""
    settings = front.settings
    spectrum = torch.stft(
        waveforms, settings.n_fft, hop_length=settings.hop_frames, window=front.window,
        center=True, pad_mode="reflect", return_complex=True,
    )
    power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
    levels = torch.matmul(front.filterbank, power).clamp(min=POWER_FLOOR).log10().mul(10.0)
    assert settings.top_db is not None
    return torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - settings.top_db)


def written_image(front: SpectrogramFront, waveforms: Tensor) -> Tensor:
    levels = written_levels(front, waveforms)
    highest, lowest = levels.amax(dim=(1, 2), keepdim=True), levels.amin(dim=(1, 2), keepdim=True)
    scaled = ((levels - lowest) / (highest - lowest + RANGE_FLOOR)).unsqueeze(1)
    return functional.interpolate(scaled, size=front.settings.image_size, mode="bilinear", align_corners=False)


def sounds(batch: int) -> Tensor:
    moments = torch.arange(_FRAMES) / 22_050
    noise = 0.1 * torch.randn(_FRAMES, generator=torch.Generator().manual_seed(0))
    call = torch.from_numpy(synthesise("bird_song", 3))
    each = [noise, 0.5 * torch.sin(6_000 * moments), torch.where(moments < 4.0, noise, 0.0), call]
    return torch.stack([each[k % len(each)] for k in range(batch)])


def compare(name: str, batch: int, rounds: int, memory: str) -> None:
    front, waveforms = SpectrogramFront(_SETTINGS[name]), sounds(batch)
    ways: list[Callable[[], Tensor]] = [lambda: written_image(front, waveforms), lambda: front.image(waveforms)]
    times_s: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for way, kept in zip(ways, times_s):
            started = time.process_time()
            for _ in range(max(1, 16 // batch)):
                way()
            if number:  # the first round warms
                kept.append((time.process_time() - started) / max(1, 16 // batch) / batch)
    written, quick = map(statistics.median, times_s)
    ratio = statistics.median(a / b for a, b in zip(*times_s))
    apart = float((front.decibels(waveforms) - written_levels(front, waveforms)).abs().max())
    print(f"{name:13s} {batch:5d}  {memory:7s} {1 / written:10.0f} {1 / quick:8.0f} {ratio:6.2f}  {apart:9.6f}")


def main() -> int:
    options = parse_arguments()
    torch.set_num_threads(1)
    print("settings      batch  memory   written/s  front/s  ratio  apart, dB")
    with torch.inference_mode():
        for memory in ("as is", "kept"):
            if memory == "kept" and not keep_freed_memory():
                continue
            for name in _SETTINGS:
                for batch in options.batch:
                    compare(name, batch, options.rounds, memory)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
