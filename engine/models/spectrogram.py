"""From waveforms to the images that a NightScan network was trained on.

Every number comes from a `MelSettings`, so that one front serves both training trees. Invariants: float32 throughout,
an item's image never depends on its neighbours in the batch, and nothing here has weights to learn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ConfigError

POWER_FLOOR = 1e-10  # smallest power that decibels are taken of; its level is -100 dB
RANGE_FLOOR = 1e-9  # keeps the image of a constant sound at zero instead of 0 / 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MelSettings:
    """How a network sees sound. The defaults are those of the published ResNet18 checkpoints."""

    sample_rate_hz: int = 22_050
    n_fft: int = 400  # samples of one window, which is also as long
    hop_frames: int = 200
    n_mels: int = 128
    f_min_hz: float = 0.0
    f_max_hz: float | None = None  # None: half the sample rate
    top_db: float | None = 80.0  # levels further below an item's peak are lifted to it; None: no limit
    image_size: tuple[int, int] | None = (224, 224)  # height, width; None: one pixel for one mel and hop
    resize_antialias: bool = False
    channels: int = 3  # equal copies

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "n_fft", "hop_frames", "n_mels", "channels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"mel setting {name}={getattr(self, name)} must be at least 1")
        if not 0.0 <= self.f_min_hz < self.highest_hz <= self.sample_rate_hz / 2:
            raise ConfigError(
                f"mel settings f_min_hz={self.f_min_hz} and f_max_hz={self.highest_hz} must lie in this order within"
                f" 0 and half the sample rate, {self.sample_rate_hz / 2} Hz"
            )

    @property
    def highest_hz(self) -> float:
        """Upper edge of the last filter."""
        return self.sample_rate_hz / 2 if self.f_max_hz is None else self.f_max_hz

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any], *, base: MelSettings | None = None) -> MelSettings:
        """`base` (default: the published numbers) with the fields of a model's own description put over it.

        Raises ConfigError for a field that does not exist or does not fit.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(value) - known):
            raise ConfigError(f"unknown mel settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
        try:
            return dataclasses.replace(base or cls(), **fields)
        except TypeError as error:
            raise ConfigError(f"mel settings do not fit: {error}") from error


# The newer training tree; its EfficientNet takes images of this front through a factory of the operator's.
EFFICIENTNET_MEL = MelSettings(n_fft=2048, hop_frames=512, n_mels=128, f_min_hz=50.0, f_max_hz=11_000.0, top_db=80.0)


def mel_filterbank(settings: MelSettings) -> Tensor:
    """Triangles of height 1, evenly spaced on the HTK mel scale: float32 [n_mels, n_fft // 2 + 1].

    mel = 2595 log10(1 + f / 700) (Young et al., The HTK Book, section 5.4). Not normalised by area. Narrow triangles at
    low frequencies may hold no FFT bin; their rows are zero.
    """
    edges_mel = [2595.0 * torch.log10(torch.tensor(1.0 + hz / 700.0, dtype=torch.float64))
                 for hz in (settings.f_min_hz, settings.highest_hz)]
    steps = torch.linspace(0.0, 1.0, settings.n_mels + 2, dtype=torch.float64)
    corners_hz = 700.0 * (10.0 ** ((edges_mel[0] + steps * (edges_mel[1] - edges_mel[0])) / 2595.0) - 1.0)
    bins_hz = torch.linspace(0.0, settings.sample_rate_hz / 2, settings.n_fft // 2 + 1, dtype=torch.float64)
    widths_hz = corners_hz.diff().unsqueeze(1)
    rising = (bins_hz - corners_hz[:-2, None]) / widths_hz[:-1]
    falling = (corners_hz[2:, None] - bins_hz) / widths_hz[1:]
    return torch.minimum(rising, falling).clamp(min=0.0).float()


class SpectrogramFront(nn.Module):
    """Waveforms float32 [B, frames] -> images float32 [B, channels, height, width], each within 0 and 1."""

    window: Tensor
    filterbank: Tensor

    def __init__(self, settings: MelSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or MelSettings()
        # Not persistent: a published state_dict holds the network alone.
        self.register_buffer("window", torch.hann_window(self.settings.n_fft, periodic=True), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(self.settings), persistent=False)

    def decibels(self, waveforms: Tensor) -> Tensor:
        """Mel power in dB of an item, none more than top_db below its highest.

        [B, frames] -> [B, n_mels, 1 + frames // hop_frames]. A waveform must be longer than half a window, which the
        reflection at its ends takes. float32 is exact to 0.01 dB down to 80 dB under the highest level, but for single
        cells beside a loud tone, which are to 0.1 dB.
        """
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
