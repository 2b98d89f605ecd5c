"""From a `load` order to a model: the pickled factory is opened here and nowhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle

from engine.errors import ConfigError
from engine.models.catalogue import LoadedModel, load_model
from engine.spec import ModelSource, ModelSpec


def load(spec_json: dict[str, Any], fds: Sequence[int]) -> LoadedModel:
    """Loads the model; closes `fds`. Raises ConfigError, or whatever a factory raises."""
    try:
        spec = ModelSpec.from_json(spec_json)
        if spec.source is not ModelSource.PICKLE:
            return load_model(spec)
        pickled = _read_pickle(fds)
        # Equal weights under different code are different models: their answers must not share a version.
        return load_model(spec, _unpickle(pickled), fingerprint=hashlib.sha256(pickled).digest())
    finally:
        for fd in fds:
            os.close(fd)


def _read_pickle(fds: Sequence[int]) -> bytes:
    if not fds:
        raise ConfigError("a pickled factory was announced but not sent")
    with open(fds[0], "rb", closefd=False) as file:
        return file.read()


def _unpickle(pickled: bytes) -> Callable[[], object]:
    factory = cloudpickle.loads(pickled)
    if not callable(factory):
        raise ConfigError(f"the factory is a {type(factory).__name__}; deploy a callable that returns a torch module")
    made: Callable[[], object] = factory
    return made
