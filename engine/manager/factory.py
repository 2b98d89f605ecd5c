"""What a user calls a model - a function, a path, a ModelSpec - as a spec and, for functions, as bytes.

Functions travel pickled by value where they are closures or live in `__main__`, by reference where they can be
imported: the instance looks where this process would.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle

from engine.errors import ConfigError
from engine.manager.foreign import foreign_code
from engine.spec import ModelSource, ModelSpec

ModelFactory = Callable[[], object] | str | os.PathLike[str] | ModelSpec

_FUNCTION_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def spec_of(factory: ModelFactory, overrides: dict[str, Any]) -> tuple[ModelSpec, bytes | None]:
    """The spec and the pickled function, if it is one. `overrides`: fields of ModelSpec; None leaves them alone.

    A text is `package.module:function`, or else the path of weights. Raises ConfigError for what is no model, or
    cannot be sent to another process.
    """
    spec, pickled = _spec_of(factory)
    given = {name: value for name, value in overrides.items() if value is not None}
    return dataclasses.replace(spec, **given), pickled


def _spec_of(factory: ModelFactory) -> tuple[ModelSpec, bytes | None]:
    if isinstance(factory, ModelSpec):
        if factory.source is ModelSource.PICKLE:
            raise ConfigError("give the function itself; a ModelSpec cannot carry a pickled one")
        return factory, None
    if isinstance(factory, str) and _FUNCTION_NAME.fullmatch(factory):
        return ModelSpec(source=ModelSource.FACTORY, location=factory, import_paths=import_paths()), None
    if isinstance(factory, (str, os.PathLike)):
        path = os.path.abspath(factory)
        if not os.path.exists(path):
            raise ConfigError(f"no model at {path}, and no function either (package.module:function)")
        return ModelSpec(source=ModelSource.CHECKPOINT, location=path), None
    if not callable(factory):
        raise ConfigError(f"a model is a function, a path or a ModelSpec, not {type(factory).__name__}")
    return ModelSpec(source=ModelSource.PICKLE), _pickled(factory)


def _pickled(factory: Callable[[], object]) -> bytes:
    def unsendable(error: Exception) -> ConfigError:
        text = f"{factory!r} cannot be sent to another process ({error}); let it make what it needs inside"
        return ConfigError(text)

    with foreign_code(unsendable):  # pickling runs the code of whatever objects the closure holds
        return bytes(cloudpickle.dumps(_unpacking(cloudpickle.dumps(factory), import_paths(), factory)))


def _unpacking(packed: bytes, paths: tuple[str, ...], factory: object) -> Callable[[], object]:
    """A factory that is opened with our import path in place: what it names by reference must be found by then.

    Being a local function it travels by value, so that the instance need not load this module.
    """

    def make() -> object:
        sys.path[:0] = [path for path in paths if path not in sys.path]
        return cloudpickle.loads(packed)()

    make.__qualname__ = getattr(factory, "__qualname__", repr(factory))  # errors name what the user wrote
    return make


def import_paths() -> tuple[str, ...]:
    """Where this process imports from, without what every interpreter of this installation has anyway."""
    own = tuple(os.path.join(os.path.realpath(prefix), "") for prefix in (sys.prefix, sys.base_prefix))
    found = [os.path.abspath(entry or os.getcwd()) for entry in sys.path]
    return tuple(entry for entry in found if os.path.isdir(entry) and not os.path.realpath(entry).startswith(own))
