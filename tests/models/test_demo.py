"""The committed demo model: what it promises, and that it takes real nights without complaint."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.models.catalogue import DEMO_PATH, LoadedModel
from engine.models.demo_data import HELD_OUT_SEED, images, waveforms
from engine.models.labels import PUBLISHED_LABELS
from engine.models.resnet18 import ResNet18
from engine.models.mel import MelSettings
from engine.models.train_demo import BATCH, confusion, load, train
from tests.models.torchvision_keys import RESNET18_SHAPES

SOUNDS_EACH = 20


def test_it_names_the_published_classes(demo: LoadedModel) -> None:
    assert demo.description.labels == PUBLISHED_LABELS
    assert demo.description.input_shape == (176_400,) and demo.description.peak_normalise


def test_it_is_a_small_file() -> None:
    assert DEMO_PATH.stat().st_size < 3_000_000
    assert load(DEMO_PATH).state_dict().keys() == RESNET18_SHAPES.keys()


def test_it_knows_sounds_that_it_was_not_trained_on(demo: LoadedModel) -> None:
    right = 0
    with torch.inference_mode():
        # Seeds behind those that the training script reports on.
        for truth, sound in waveforms(PUBLISHED_LABELS, SOUNDS_EACH, first_seed=HELD_OUT_SEED + 50_000):
            right += int(demo.module(sound.unsqueeze(0)).argmax()) == truth
    assert right / (SOUNDS_EACH * len(PUBLISHED_LABELS)) >= 0.95


def test_it_answers_nights_with_numbers(demo: LoadedModel, night_windows: Tensor) -> None:
    with torch.inference_mode():
        probabilities = demo.module(night_windows).softmax(dim=1)
    assert probabilities.shape == (len(night_windows), 6) and bool(probabilities.isfinite().all())


def test_training_learns() -> None:
    torch.manual_seed(0)
    data = images(PUBLISHED_LABELS[:2], BATCH // 2, first_seed=0, settings=MelSettings(image_size=(56, 56)))
    network = ResNet18(len(PUBLISHED_LABELS), width=4)
    train(network, data, epochs=25)
    assert int(confusion(network, data, 2).diagonal().sum()) > 0.8 * len(data.classes)
