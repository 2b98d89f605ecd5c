"""The sounds of one set of trials, made by one stage and heard by the others: what is to be said of their files."""

from __future__ import annotations

import dataclasses
from typing import Any

from engine.trials.base_sounds import BaseSounds
from engine.trials.sound_windows import SoundWindows
from engine.trials.sounds import TrialSounds


def sounds_to_json(sounds: TrialSounds) -> dict[str, Any]:
    return dataclasses.asdict(sounds)


def sounds_from(value: dict[str, Any]) -> TrialSounds:
    """What `sounds_to_json` made, by way of JSON."""
    return TrialSounds(_windows(value["calibration"]), _windows(value["gate"]), value["note"])


def _windows(value: dict[str, Any]) -> SoundWindows:
    base = value["sounds"]
    return SoundWindows(
        BaseSounds(base["path"], base["frames"], tuple(base["gains"])),
        tuple(value["input_shape"]), value["count"], value["seed"],
    )
