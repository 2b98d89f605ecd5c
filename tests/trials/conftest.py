"""Orders for trials of the models beside it, and how they go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config import Settings
from engine.messages import sealed_memfd
from engine.models.catalogue import load_model
from engine.spec import ModelSource, ModelSpec
from engine.tuning.folder import TuningFolder
from engine.tuning.key import TuningKey
from engine.tuning.order import TrialOrder
from engine.tuning.terms import TuningTerms

MAX_BATCH = 4


def order_of(factory: str, state_dir: Path, *, version: str = "", **settings: Any) -> TrialOrder:
    """For a model of `tests.trials.models`."""
    spec = ModelSpec(source=ModelSource.FACTORY, location=f"tests.trials.models:{factory}")
    return TrialOrder(
        spec=spec.to_json(), model_version=version or load_model(spec).description.model_version, device="cpu",
        threads=1, max_batch_size=MAX_BATCH, terms=TuningTerms.of(Settings(state_dir=str(state_dir), **settings)),
    )


def folder_of(order: TrialOrder) -> TuningFolder:
    """Where its result is to lie."""
    key = TuningKey.here(
        order.terms, model_version=order.model_version, device=order.device, threads=order.threads,
        max_batch_size=order.max_batch_size,
    )
    return TuningFolder(order.terms, key)


def started(order: TrialOrder, *arguments: str) -> subprocess.Popen[bytes]:
    """The trial process, in a session of its own as the supervisor starts it, but as quick as tests are."""
    fd = sealed_memfd("order", order.to_bytes())
    os.set_inheritable(fd, True)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "engine.trials", "--order", str(fd), "--share", "full", *arguments],
            stdout=subprocess.PIPE, pass_fds=[fd], start_new_session=True,
        )
    finally:
        os.close(fd)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"
