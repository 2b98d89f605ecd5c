"""From waveforms to the images that a NightScan network was trained on.

Every number comes from a `MelSettings`, so that one front serves both training trees. Invariants: float32 throughout,
an item's image never depends on its neighbours in the batch, and nothing here has weights to learn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from engine.models.mel import POWER_FLOOR, RANGE_FLOOR, MelSettings, mel_filterbank
from engine.models.spectrogram_pass import SpectrogramPass


class SpectrogramFront(nn.Module):
    """Waveforms float32 [B, frames] -> images float32 [B, channels, height, width], each within 0 and 1.

    What is written here can be differentiated, traced and run on any device. On a processor, where none of that is
    asked, a SpectrogramPass computes the same.
    """

    window: Tensor
    filterbank: Tensor
    _pass: SpectrogramPass | None = None  # no buffer: it follows from the two, and a model's version has them

    def __init__(self, settings: MelSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or MelSettings()
        # Not persistent: a published state_dict holds the network alone.
        self.register_buffer("window", torch.hann_window(self.settings.n_fft, periodic=True), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(self.settings), persistent=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the pass: a copy makes its own, and a pickle is the same before and after the first use."""
        return {name: value for name, value in self.__dict__.items() if name != "_pass"}

    def _is_plain(self, waveforms: Tensor) -> bool:
        """Whether nothing but the numbers is wanted, of sounds on the processor that are long enough."""
        if torch.compiler.is_compiling() or _is_tracing():  # first: the other questions would become part of a trace
            return False
        if torch._C._are_functorch_transforms_active() or _is_dual(waveforms):
            return False  # vmap, jvp: what looks like plain numbers stands for others
        tensors = (waveforms, self.window, self.filterbank)
        return (
            all(type(tensor) is Tensor and tensor.is_cpu and tensor.dtype is torch.float32 for tensor in tensors)
            and waveforms.dim() == 2
            and waveforms.shape[0] > 0
            and waveforms.shape[1] > self.settings.n_fft // 2
            and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
        )

    def _made_pass(self) -> SpectrogramPass:
        made_from = self.window, self.filterbank  # others after a move to a device and back
        if self._pass is None or any(a is not b for a, b in zip(self._pass.made_from, made_from)):
            self._pass = SpectrogramPass(self.settings, *made_from)
        return self._pass

    def decibels(self, waveforms: Tensor) -> Tensor:
        """Mel power in dB of an item, none more than top_db below its highest.

        [B, frames] -> [B, n_mels, 1 + frames // hop_frames]. A waveform must be longer than half a window, which the
        reflection at its ends takes. float32 is exact to 0.01 dB down to 80 dB under the highest level, but for single
        cells beside a loud tone, which are to 0.1 dB.
        """
        if self._is_plain(waveforms):
            return self._made_pass().decibels(waveforms)
        spectrum = torch.stft(
            waveforms, self.settings.n_fft, hop_length=self.settings.hop_frames, window=self.window,
            center=True, pad_mode="reflect", return_complex=True,
        )
        # Four times as fast on a CPU as abs().square(), which takes a square root only to undo it.
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
        levels = torch.matmul(self.filterbank, power).clamp(min=POWER_FLOOR).log10().mul(10.0)
        if self.settings.top_db is None:
            return levels
        return torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - self.settings.top_db)

    def image(self, waveforms: Tensor) -> Tensor:
        """One channel of the image: [B, frames] -> [B, 1, height, width]."""
        if self._is_plain(waveforms):
            return self._made_pass().images(waveforms)
        levels = self.decibels(waveforms)
        highest, lowest = levels.amax(dim=(1, 2), keepdim=True), levels.amin(dim=(1, 2), keepdim=True)
        scaled = ((levels - lowest) / (highest - lowest + RANGE_FLOOR)).unsqueeze(1)
        if self.settings.image_size is None:
            return scaled
        return functional.interpolate(
            scaled, size=self.settings.image_size, mode="bilinear", align_corners=False,
            antialias=self.settings.resize_antialias,
        )

    def forward(self, waveforms: Tensor) -> Tensor:
        # The channels are equal: a view costs nothing, a copy would be read from memory three times.
        return self.image(waveforms).expand(-1, self.settings.channels, -1, -1)


def _is_dual(waveforms: Tensor) -> bool:
    """Whether a derivative is carried along with the numbers (`torch.autograd.forward_ad`)."""
    return forward_ad.unpack_dual(waveforms).tangent is not None  # type: ignore[no-untyped-call]


def _is_tracing() -> bool:
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing
