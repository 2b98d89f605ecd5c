"""The fast way to an image against the one that is written down, which is taken where gradients are asked for."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.models.bilinear import Bilinear
from engine.models.fingerprint import model_version
from engine.models.mel import EFFICIENTNET_MEL, MelSettings
from engine.models.mel_bands import MelBands
from engine.models.pipeline import SoundClassifier
from engine.models.resnet18 import ResNet18
from engine.models.spectrogram import SpectrogramFront
from engine.models.synthesise import synthesise

FRAMES = 176_400
DECIBELS = 1e-3
SHADES = DECIBELS / 80.0  # of an image, whose shades are 80 dB

SETTINGS = {
    "published": MelSettings(),
    "efficientnet": EFFICIENTNET_MEL,
    "antialias": MelSettings(resize_antialias=True),
    "whole": MelSettings(image_size=None),
    "no limit": MelSettings(top_db=None),
    "odd": MelSettings(n_fft=401, hop_frames=173, n_mels=37, image_size=(50, 31)),
    "one filter": MelSettings(n_mels=1, hop_frames=5_000, image_size=(7, 300)),
    "more filters than bins": MelSettings(n_fft=64, hop_frames=640, n_mels=200),
}


def sounds() -> dict[str, Tensor]:
    """What is hard on logarithms, peaks and floors, each [frames]."""
    random = torch.Generator().manual_seed(5)
    noise = torch.randn(FRAMES, generator=random)
    moments = torch.arange(FRAMES) / 22_050
    impulse = torch.zeros(FRAMES)
    impulse[FRAMES // 3] = 1.0
    return {
        "silence": torch.zeros(FRAMES),
        "constant": torch.full((FRAMES,), 0.3),
        "noise": 0.1 * noise,
        "faint": 1e-6 * noise,
        "clipped": (3.0 * noise).clamp(-1.0, 1.0),
        "tone": 0.5 * torch.sin(2 * torch.pi * 1_000 * moments),
        "sweep": 0.5 * torch.sin(2 * torch.pi * 600 * moments**2),
        "impulse": impulse,
        "half silent": torch.where(moments < 4.0, 0.1 * noise, 0.0),
        "bird": torch.from_numpy(synthesise("bird_song", 3)),
    }


def written(front: SpectrogramFront, method: str, waveforms: Tensor) -> Tensor:
    asked: Tensor = getattr(front, method)(waveforms.clone().requires_grad_())
    assert asked.requires_grad
    return asked.detach()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_it_gives_what_is_written_down(settings: MelSettings) -> None:
    front = SpectrogramFront(settings)
    waveforms = torch.stack(list(sounds().values()))
    levels, images = front.decibels(waveforms), front.image(waveforms)
    assert (levels - written(front, "decibels", waveforms)).abs().max() < DECIBELS
    ranges = levels.amax((1, 2)) - levels.amin((1, 2))
    assert ((images - written(front, "image", waveforms)).abs().amax((1, 2, 3)) * ranges).max() < DECIBELS
    assert images.min() >= 0.0 and images.max() <= 1.0


@pytest.mark.parametrize("settings", [MelSettings(), EFFICIENTNET_MEL], ids=["published", "efficientnet"])
def test_it_gives_what_is_written_down_on_nights(night_windows: Tensor, settings: MelSettings) -> None:
    front = SpectrogramFront(settings)
    assert (front.decibels(night_windows) - written(front, "decibels", night_windows)).abs().max() < DECIBELS
    assert (front.image(night_windows) - written(front, "image", night_windows)).abs().max() < SHADES


@pytest.mark.parametrize("frames", [300, 2_000, 22_050, 22_051])
def test_windows_of_any_length(frames: int) -> None:
    front = SpectrogramFront()
    waveforms = torch.stack([0.1 * sounds()["noise"][:frames], sounds()["clipped"][:frames]])
    assert (front.image(waveforms) - written(front, "image", waveforms)).abs().max() < SHADES


def test_a_window_shorter_than_the_reflection_is_refused_as_ever() -> None:
    with pytest.raises(RuntimeError, match=r"[Pp]adding size"):
        SpectrogramFront().image(torch.zeros(1, 200))


def test_an_image_is_the_same_bits_in_every_batch() -> None:
    front = SpectrogramFront()
    waveforms = torch.stack(list(sounds().values()))
    together = front.image(waveforms)
    for size in (1, 3, 4):
        assert torch.equal(torch.cat([front.image(part) for part in torch.split(waveforms, size)]), together)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_with_its_item(value: float) -> None:
    front = SpectrogramFront()
    waveforms = torch.stack([sounds()[name] for name in ("noise", "tone", "bird")])
    good = front.image(waveforms)
    waveforms[1, 1_000] = value
    images = front.image(waveforms)
    assert torch.equal(images[[0, 2]], good[[0, 2]])
    assert images[1].isnan().all()


def test_gradients_flow_after_the_fast_way_was_taken() -> None:
    front = SpectrogramFront()
    waveforms = sounds()["bird"][None].clone()
    with torch.inference_mode():
        front.image(waveforms)
    waveforms.requires_grad_()
    front.image(waveforms).sum().backward()  # type: ignore[no-untyped-call]
    assert waveforms.grad is not None and waveforms.grad.abs().max() > 0.0


def test_use_changes_neither_the_pickle_nor_the_version_of_a_model() -> None:
    model = SoundClassifier(ResNet18(3, 8)).eval()
    fresh, version = pickle.dumps(model), model_version(model, {})
    waveforms = sounds()["bird"][None, :22_050]
    with torch.inference_mode():
        wanted = model(waveforms)
        assert pickle.dumps(model) == fresh
        assert model_version(model, {}) == version
        for same in (pickle.loads(fresh), copy.deepcopy(model)):
            assert torch.equal(same(waveforms), wanted)


def test_buffers_that_were_moved_are_looked_at_again() -> None:
    front = SpectrogramFront(MelSettings(top_db=None))
    waveforms = sounds()["noise"][None]
    before = front.decibels(waveforms)
    front.filterbank = 2.0 * front.filterbank
    heard = before > -99.0  # narrow filters hear nothing, however loud
    torch.testing.assert_close(front.decibels(waveforms)[heard], before[heard] + 3.0103, rtol=0.0, atol=1e-3)


def test_another_precision_is_computed_as_it_is_written() -> None:
    waveforms = sounds()["bird"][None]
    front = SpectrogramFront()
    exact = SpectrogramFront().double().image(waveforms.double())
    assert exact.dtype == torch.float64
    assert (front.image(waveforms) - exact).abs().max() < 1e-3


def test_a_model_that_was_used_can_be_exported_and_traced() -> None:
    front = SpectrogramFront(dataclasses.replace(MelSettings(), n_mels=16, image_size=(16, 16)))
    waveforms = torch.stack([sounds()["noise"], sounds()["bird"]])[:, :4_000]
    with torch.no_grad():
        wanted = front(waveforms)
        dynamic = {0: torch.export.Dim("batch", min=1, max=8)}
        exported = torch.export.export(front, (waveforms,), dynamic_shapes=(dynamic,)).module()
        with pytest.warns(DeprecationWarning, match="deprecated|may break"):
            traced = torch.jit.trace(front, (waveforms,))  # type: ignore[no-untyped-call]
        for program in (exported, traced):
            assert (program(waveforms) - wanted).abs().max() < SHADES
        assert exported(waveforms.repeat(3, 1)).shape == (6, 3, 16, 16)


@pytest.mark.parametrize("seed", range(8))
def test_blocks_of_a_filterbank_are_its_product(seed: int) -> None:
    random = np.random.default_rng(seed)
    filters, bins, hops = int(random.integers(1, 60)), int(random.integers(1, 80)), int(random.integers(1, 30))
    bank = np.zeros((filters, bins), dtype=np.float32)
    for row in bank:
        low, high = sorted(random.integers(0, bins + 1, size=2))
        row[low:high] = random.uniform(0.1, 1.0, high - low)
    bank[random.random(filters) < 0.2] = 0.0
    squares = torch.from_numpy(random.uniform(0.0, 1.0, (hops, 2 * bins)).astype(np.float32))
    found = torch.full((filters, hops), float("nan"))
    MelBands(torch.from_numpy(bank)).between(squares, found)()
    wanted = torch.from_numpy(bank) @ squares.view(hops, bins, 2).sum(2).T
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [
    ((128, 883), (224, 224)), ((128, 345), (224, 224)), ((1, 1), (5, 7)), ((9, 2), (9, 2)), ((50, 40), (7, 3)),
])
def test_picking_and_blending_is_torchs_resizing(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = torch.randn(*old, generator=torch.Generator().manual_seed(1))
    bilinear = Bilinear(old, new)
    wanted = functional.interpolate(image[None, None], size=new, mode="bilinear", align_corners=False)[0, 0]
    found = torch.full(new, float("nan"))
    bilinear.blend(bilinear.pick(image), out=found)
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=2e-6)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of torch, whose stft maps one by one
def test_transforms_of_torch_go_by_the_written_formula() -> None:
    front = SpectrogramFront()
    batches = torch.randn(2, 3, 22_050, generator=torch.Generator().manual_seed(5))
    mapped = torch.func.vmap(front.image)(batches)
    assert torch.allclose(mapped, torch.stack([front.image(batch) for batch in batches]), atol=1e-5)
