"""The same seed gives the same sound, another one another; every sound is a window as the engine would serve it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.models.labels import PUBLISHED_LABELS
from engine.models.sound_rules import RULES
from engine.models.synthesise import synthesise


def test_there_are_rules_for_the_published_classes() -> None:
    assert tuple(RULES) == PUBLISHED_LABELS


@pytest.mark.parametrize("label", PUBLISHED_LABELS)
def test_a_seed_fixes_every_sample(label: str) -> None:
    assert np.array_equal(synthesise(label, 7), synthesise(label, 7))
    assert not np.array_equal(synthesise(label, 7), synthesise(label, 8))


def test_classes_do_not_share_their_chance() -> None:
    sounds = [synthesise(label, 7) for label in PUBLISHED_LABELS]
    for index, sound in enumerate(sounds):
        assert all(abs(np.corrcoef(sound, other)[0, 1]) < 0.9 for other in sounds[index + 1:])


@pytest.mark.parametrize("label", PUBLISHED_LABELS)
def test_sounds_are_windows_as_served(label: str) -> None:
    padded = 0
    for seed in range(12):
        sound = synthesise(label, seed)
        assert sound.shape == (176_400,) and sound.dtype == np.float32
        assert np.isfinite(sound).all() and np.abs(sound).max() == 1.0
        assert 20 * np.log10(np.sqrt(np.mean(np.square(sound)))) > -35  # below that a window is dropped as silent
        steps = sound.astype(np.float64) * 32767
        assert np.abs(steps - np.round(steps)).max() < 0.01
        padded += not sound[:1000].any()
    assert 0 < padded < 12


def test_a_label_without_rules_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no rules for the label 'whale'; there are rules for bird_song"):
        synthesise("whale", 0)
