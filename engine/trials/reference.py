"""What all forms are compared with: the sounds, the eager form's answers to them, and its speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.errors import NonFiniteOutput
from engine.forms import EAGER
from engine.models.catalogue import LoadedModel
from engine.trials.agreement import Floats, reference_of
from engine.trials.computing import FormUnderTrial
from engine.trials.sounds import make_sounds
from engine.trials.speed import speeds
from engine.trials.stage_request import StageRequest
from engine.trials.stored_sounds import sounds_to_json

_REFERENCE = "reference.npy"


def make_reference(loaded: LoadedModel, request: StageRequest) -> dict[str, Any]:
    """Writes the sounds and the eager answers. Raises what the model raises, OSError without room on the disk."""
    order, work = request.order, Path(request.work)
    sounds = make_sounds(loaded.description, work, calibration_dir=order.terms.calibration_dir)
    eager = FormUnderTrial(loaded, EAGER, work, order)
    is_cuda = order.device != "cpu"
    found = speeds(
        {"eager": eager}, lambda size: sounds.gate.batch(range(size)), max_batch=order.max_batch_size,
        threads=order.threads, is_cuda=is_cuda,
    )
    answers = reference_of(eager, sounds.gate, order.max_batch_size)
    if not np.isfinite(answers).any():
        raise NonFiniteOutput("the model answers nothing finite to any of the sounds that forms are compared on")
    np.save(work / _REFERENCE, answers)
    return {
        "items_per_s": found["eager"], "sounds": sounds_to_json(sounds), "windows": len(answers),
        "device_name": torch.cuda.get_device_name(order.device) if is_cuda else "",
    }


def read_reference(work: Path) -> Floats:
    """The eager form's probabilities, `[windows, classes]`."""
    answers: Floats = np.load(work / _REFERENCE)
    return answers
