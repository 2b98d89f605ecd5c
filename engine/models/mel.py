"""How a network sees sound, in numbers, and the filters that follow from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
