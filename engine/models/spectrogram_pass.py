"""A SpectrogramFront's images as fast as a processor makes them, without autograd.

One item after the other, in pieces, so that what lies between waveform and image stays in the caches, and so that an
item's image is bit by bit the same in every batch. What is not needed is not computed: the filters' products with bins
that they do not hear, a logarithm of columns that resizing leaves out. `benchmarks/README.md` has what each step takes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.models.bilinear import Bilinear
from engine.models.mel import POWER_FLOOR, RANGE_FLOOR, MelSettings
from engine.models.mel_bands import MelBands

_PIECE_SAMPLES = 160_000  # of overlapping windows at a time: 640 KB, about what a core's own cache holds
_DECIBELS = 10.0 / math.log(10.0)  # of a power whose natural logarithm is 1


class _Hearing:
    """One waveform after the other through the same memory, which is laid out once for all of a batch."""

    def __init__(self, settings: MelSettings, window: Tensor, bands: MelBands, waveforms: Tensor) -> None:
        self._half = settings.n_fft // 2
        self._window = window
        self._padded = waveforms.new_empty(waveforms.shape[1] + 2 * self._half)
        frames = self._padded.unfold(0, settings.n_fft, settings.hop_frames)
        squares = waveforms.new_empty((len(frames), self._half + 1, 2))
        count = -(-frames.numel() // _PIECE_SAMPLES)
        self._pieces = list(zip(frames.tensor_split(count), squares.tensor_split(count)))
        self.power = waveforms.new_empty((settings.n_mels, len(frames)))  # what each filter hears at each hop
        self._multiply = bands.between(squares.flatten(1), self.power)

    def hear(self, waveform: Tensor) -> Tensor:
        """`power` of [frames], until the next."""
        first, last = waveform[1 : self._half + 1], waveform[-self._half - 1 : -1]
        torch.cat((first.flip(0), waveform, last.flip(0)), out=self._padded)
        for frames, squares in self._pieces:
            parts = torch.view_as_real(torch.fft.rfft(frames * self._window))
            torch.mul(parts, parts, out=squares)
        self._multiply()
        return self.power


class SpectrogramPass:
    """Made from a front's buffers; computes as `SpectrogramFront` says, within 1e-4 dB."""

    def __init__(self, settings: MelSettings, window: Tensor, filterbank: Tensor) -> None:
        self.made_from = window, filterbank
        self._settings = settings
        self._bands = MelBands(filterbank)
        self._bilinear: tuple[int, Bilinear] | None = None  # of the last number of hops

    def decibels(self, waveforms: Tensor) -> Tensor:
        """[B, frames] -> [B, n_mels, hops]."""
        hearing = self._hearing(waveforms)
        levels = waveforms.new_empty((len(waveforms), *hearing.power.shape))
        for waveform, level in zip(waveforms.unbind(), levels.unbind()):
            power = hearing.hear(waveform)
            torch.clamp(power, min=self._ends(power)[0], out=level)
            _log(level).mul_(_DECIBELS)
        return levels

    def images(self, waveforms: Tensor) -> Tensor:
        """[B, frames] -> [B, 1, height, width]."""
        hearing = self._hearing(waveforms)
        images = waveforms.new_empty((len(waveforms), 1, *(self._settings.image_size or hearing.power.shape)))
        for waveform, image in zip(waveforms.unbind(), images[:, 0].unbind()):
            self._draw(hearing.hear(waveform), image)
        return images

    def _hearing(self, waveforms: Tensor) -> _Hearing:
        return _Hearing(self._settings, self.made_from[0], self._bands, waveforms)

    def _ends(self, power: Tensor) -> tuple[float, Tensor]:
        """The least power that counts, and lowest and highest of what counts. NaN where any is: then all of it is."""
        ends = torch.stack((power.amin(), power.amax())).clamp_(min=POWER_FLOOR)
        floor = POWER_FLOOR
        if self._settings.top_db is not None:
            floor = max(float(ends[1]) * 10.0 ** (-self._settings.top_db / 10.0), POWER_FLOOR)  # NaN if that is first
        return floor, ends.clamp_(min=floor)

    def _draw(self, power: Tensor, image: Tensor) -> None:
        """Makes an image [height, width] of `power` [n_mels, hops], which it uses up."""
        floor, ends = self._ends(power)
        bilinear = self._resizing(power.shape[1])
        pixels = _log((power if bilinear is None else bilinear.pick(power)).clamp_(min=floor))
        lowest, highest = _log(ends).tolist()
        # A range of nothing is no range: the last digit of one logarithm would be all that is seen.
        scale = 0.0 if lowest == highest else 1.0 / (highest - lowest + RANGE_FLOOR / _DECIBELS)
        pixels.sub_(lowest).mul_(scale).clamp_(0.0, 1.0)
        if bilinear is not None:
            bilinear.blend(pixels, out=image)
        elif pixels.shape == image.shape:
            image.copy_(pixels)
        else:
            image.copy_(_smoothed(pixels, image.shape))

    def _resizing(self, hops: int) -> Bilinear | None:
        """None: an image is made of all columns."""
        settings = self._settings
        if settings.image_size is None or settings.resize_antialias:
            return None
        known = self._bilinear  # read once: another thread may put another there
        if known is None or known[0] != hops:
            known = self._bilinear = hops, Bilinear((settings.n_mels, hops), settings.image_size)
        return known[1]


def _smoothed(pixels: Tensor, size: torch.Size) -> Tensor:
    """Resized with antialias, which uses every column."""
    image = pixels[None, None]
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)[0, 0]


def _log(power: Tensor) -> Tensor:
    """The natural logarithm, in place; NumPy takes a third of the time that torch takes for it."""
    array = power.numpy()
    np.log(array, out=array)
    return power
