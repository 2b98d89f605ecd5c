"""One inference engine per machine for night sound recordings: the public names.

For programs that use the engine; nothing inside the package imports this root. The names are loaded when they are asked
for, because Python runs this file before any module of the package: gunicorn's master, the keeper and every instance
would otherwise load the manager with all it needs (0.6 s and 40 MB, measured) and never use it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config import ConnectionPoolConfig
    from engine.manager import (
        OptimizedModelServingManager,
        get_optimized_serving_manager,
        get_optimized_serving_manager_sync,
    )
    from engine.spec import ModelSpec

__all__ = [
    "ConnectionPoolConfig",
    "ModelSpec",
    "OptimizedModelServingManager",
    "get_optimized_serving_manager",
    "get_optimized_serving_manager_sync",
]

_HOMES = {"ConnectionPoolConfig": "engine.config", "ModelSpec": "engine.spec"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "engine.manager")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
