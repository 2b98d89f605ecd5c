"""The one engine of a process, whoever asks for it and in whichever form."""

from __future__ import annotations

import os
import threading

from engine.config import ConnectionPoolConfig, Settings
from engine.manager.asynchronous import OptimizedModelServingManager
from engine.manager.core import ServingCore
from engine.manager.synchronous import SyncModelServingManager

Config = ConnectionPoolConfig | Settings | None


class _Shared:
    """The managers of this process; made anew once their engine was shut down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._core: ServingCore | None = None
        self._asynchronous: OptimizedModelServingManager | None = None
        self._synchronous: SyncModelServingManager | None = None

    def managers(self, config: Config) -> tuple[OptimizedModelServingManager, SyncModelServingManager]:
        with self._lock:
            core = self._core
            if core is None or core.ended or self._asynchronous is None or self._synchronous is None:
                core = self._core = ServingCore(config)
                self._asynchronous = OptimizedModelServingManager(core=core)
                self._synchronous = SyncModelServingManager(core=core)
            return self._asynchronous, self._synchronous


_shared = _Shared()


def _start_afresh() -> None:
    """In a forked child: the parent's engine is not ours."""
    global _shared
    _shared = _Shared()


os.register_at_fork(after_in_child=_start_afresh)


async def get_optimized_serving_manager(config: Config = None) -> OptimizedModelServingManager:
    """The process's manager for coroutines, initialised. `config` counts for whoever asks first.

    Raises ConfigError, UnsupportedPlatform, NotReady.
    """
    return await _shared.managers(config)[0].initialize()


def get_optimized_serving_manager_sync(config: Config = None) -> SyncModelServingManager:
    """The same engine without `await`."""
    return _shared.managers(config)[1].initialize()
