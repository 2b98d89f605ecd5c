"""Models that an operator's own code makes: `package.module:function`, or a callable that was handed over.

Invariant: nothing is imported before the folders named with it are on sys.path, and whatever the foreign code raises
reaches the operator as one ConfigError that says whose code it was.
"""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from torch import nn

from engine.errors import ConfigError
from engine.models.foreign import blaming

FORM = "a model_factory has the form package.module:function"


def import_factory(location: str, import_paths: Sequence[str] = ()) -> Callable[[], object]:
    """The function at `location`. Raises ConfigError when it cannot be imported or is no function."""
    module_name, _, attribute = location.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{location!r} names no factory; {FORM}")
    _extend_path(import_paths)
    module = _import(module_name, location)
    try:
        factory = operator.attrgetter(attribute)(module)
    except AttributeError:
        raise ConfigError(f"{module_name} ({module.__file__}) has no {attribute}; {FORM}") from None
    if not callable(factory):
        raise ConfigError(f"{location} is a {type(factory).__name__} and cannot be called; {FORM}")
    made: Callable[[], object] = factory
    return made


def call_factory(factory: Callable[[], object], name: str) -> nn.Module:
    """The module that a factory makes. Raises ConfigError when it raises or makes something else."""
    with blaming(lambda what: f"model factory {name} raised {what}"):
        module = factory()
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"model factory {name} returned a {type(module).__name__}; it must return a torch.nn.Module that maps a"
            " float32 batch of inputs to logits [B, classes]"
        )
    return module


def source_of(location: str) -> bytes:
    """The bytes of the file that an imported factory stands in; empty when there is none."""
    file = getattr(sys.modules.get(location.partition(":")[0]), "__file__", None)
    return Path(file).read_bytes() if file and Path(file).is_file() else b""


def _extend_path(import_paths: Sequence[str]) -> None:
    for path in reversed(import_paths):
        if path not in sys.path:
            sys.path.insert(0, path)


def _import(module_name: str, location: str) -> ModuleType:
    try:
        with blaming(lambda what: f"importing model factory {location} raised {what}", passing=ModuleNotFoundError):
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ConfigError(
                f"cannot import {error.name} for model factory {location}: put the folder that holds it on PYTHONPATH"
                " or among the import paths of the deployment"
            ) from error
        raise ConfigError(f"model factory {location} needs {error.name}, which is not installed") from error
