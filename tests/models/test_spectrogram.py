"""The front against librosa, an implementation of the same formulas that shares no code with it."""

from __future__ import annotations

import dataclasses
import warnings

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.errors import ConfigError
from engine.models.mel import EFFICIENTNET_MEL, MelSettings, mel_filterbank
from engine.models.spectrogram import SpectrogramFront

PUBLISHED = MelSettings()


def librosa_decibels(waveform: Tensor, settings: MelSettings) -> NDArray[np.float64]:
    """[n_mels, hops] in float64."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters detected")  # so narrow are the published ones
        power = librosa.feature.melspectrogram(
            y=waveform.double().numpy(), sr=settings.sample_rate_hz, n_fft=settings.n_fft,
            hop_length=settings.hop_frames, win_length=settings.n_fft, window="hann", center=True, pad_mode="reflect",
            power=2.0, n_mels=settings.n_mels, fmin=settings.f_min_hz, fmax=settings.highest_hz, htk=True, norm=None,
        )
    decibels: NDArray[np.float64] = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=settings.top_db)
    return decibels


@pytest.mark.parametrize("settings", [PUBLISHED, EFFICIENTNET_MEL], ids=["published", "efficientnet"])
def test_decibels_are_librosas_on_nights(night_windows: Tensor, settings: MelSettings) -> None:
    ours = SpectrogramFront(settings).decibels(night_windows).numpy()
    for mine, waveform in zip(ours, night_windows):
        difference = np.abs(mine - librosa_decibels(waveform, settings))
        # Single cells 70 dB under a loud tone of the same moment are as far as the digits of float32 let them be.
        assert difference.max() < 0.1
        assert (difference > 0.01).mean() < 1e-3


def test_without_top_db_the_deepest_levels_are_still_close(night_windows: Tensor) -> None:
    # More than 100 dB below the peak float32 runs out of digits; nothing that a network sees lies there.
    unlimited = dataclasses.replace(PUBLISHED, top_db=None)
    ours = SpectrogramFront(unlimited).decibels(night_windows[:3]).numpy()
    for mine, waveform in zip(ours, night_windows):
        difference = np.abs(mine - librosa_decibels(waveform, unlimited))
        assert difference.max() < 0.1
        assert (difference > 0.01).mean() < 1e-3


def test_the_published_numbers_give_the_published_shapes() -> None:
    waveforms = torch.rand(2, 176_400) - 0.5
    front = SpectrogramFront()
    assert front.decibels(waveforms).shape == (2, 128, 883)
    assert front(waveforms).shape == (2, 3, 224, 224)
    assert front(waveforms).dtype == torch.float32


def test_the_image_is_limited_scaled_and_resized_in_this_order(night_windows: Tensor) -> None:
    levels = torch.from_numpy(librosa_decibels(night_windows[0], PUBLISHED))
    assert levels.max() - levels.min() == 80.0
    scaled = (levels - levels.min()) / (levels.max() - levels.min() + 1e-9)
    expected = functional.interpolate(scaled[None, None], size=(224, 224), mode="bilinear", align_corners=False)
    image = SpectrogramFront()(night_windows[:1])
    for channel in image[0]:
        assert (channel - expected[0, 0]).abs().max() < 1e-3


def test_top_db_looks_at_one_item_alone(night_windows: Tensor) -> None:
    front = SpectrogramFront()
    loud = torch.sin(torch.arange(176_400) * 0.3)
    together = front(torch.stack([night_windows[3] * 1e-3, loud]))
    assert torch.allclose(together[0], front(night_windows[3:4] * 1e-3)[0], atol=1e-5)


def test_silence_is_a_black_image_and_no_nan() -> None:
    assert torch.equal(SpectrogramFront()(torch.zeros(1, 176_400)), torch.zeros(1, 3, 224, 224))


@pytest.mark.parametrize("batch", range(1, 9))
def test_an_image_does_not_depend_on_its_batch(night_windows: Tensor, batch: int) -> None:
    front = SpectrogramFront()
    alone = torch.cat([front(night_windows[i:i + 1]) for i in range(batch)])
    assert (front(night_windows[:batch]) - alone).abs().max() < 1e-4


def test_antialiasing_and_image_size_are_settings(night_windows: Tensor) -> None:
    raw = SpectrogramFront(MelSettings(image_size=None)).image(night_windows[:1])
    assert raw.shape == (1, 1, 128, 883)
    smooth = SpectrogramFront(MelSettings(resize_antialias=True)).image(night_windows[:1])
    expected = functional.interpolate(raw, size=(224, 224), mode="bilinear", align_corners=False, antialias=True)
    assert torch.equal(smooth, expected)
    assert not torch.allclose(smooth, SpectrogramFront().image(night_windows[:1]), atol=0.05)


def test_the_filterbank_is_not_normalised_by_area() -> None:
    bank = mel_filterbank(EFFICIENTNET_MEL)
    assert bank.shape == (128, 1025)
    assert bank.min() == 0.0 and 0.9 < bank.max() <= 1.0


def test_the_front_adds_nothing_to_a_state_dict() -> None:
    assert not SpectrogramFront().state_dict()


def test_settings_come_from_a_models_own_description() -> None:
    described = dataclasses.asdict(EFFICIENTNET_MEL)
    assert MelSettings.from_mapping({**described, "image_size": [224, 224]}) == EFFICIENTNET_MEL
    assert MelSettings.from_mapping({}) == MelSettings()
    assert MelSettings.from_mapping({"n_mels": 64}, base=EFFICIENTNET_MEL).f_min_hz == 50.0


@pytest.mark.parametrize(("given", "text"), [
    ({"n_melz": 64}, "unknown mel settings n_melz"),
    ({"n_fft": 0}, "n_fft=0 must be at least 1"),
    ({"f_max_hz": 16_000.0}, "half the sample rate, 11025.0 Hz"),
    ({"f_min_hz": 9_000.0, "f_max_hz": 8_000.0}, "in this order"),
    ({"n_mels": "many"}, "do not fit"),
])
def test_settings_that_make_no_sense_are_refused_by_name(given: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        MelSettings.from_mapping(given)
