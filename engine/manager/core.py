"""What both forms of the manager do: one engine, one client, deployments, submissions."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.client import EngineClient, ModelDescription, Ticket
from engine.clock import Deadline
from engine.config import ConnectionPoolConfig, Settings, effective_max_batch_size, effective_pool_size, load_settings
from engine.core.admission import level_of
from engine.errors import EngineError, NotReady
from engine.manager.factory import ModelFactory, spec_of
from engine.manager.host import EngineHost
from engine.manager.results import Result, caller_hash_of, from_cache, item_of
from engine.messages import sealed_memfd
from engine.spec import Activation
from engine.stats import optimization_stats

DEPLOY_S = 600.0  # loading weights and warming up a large model takes minutes

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a deployment differs from the settings and from what its model says; None: it does not."""

    pool_size: int | None = None
    max_batch_size: int | None = None
    warmup_requests: int | None = None
    devices: str | None = None
    input_shape: tuple[int, ...] | None = None
    labels: tuple[str, ...] | None = None
    sample_rate_hz: int | None = None
    segment_s: float | None = None
    peak_normalise: bool | None = None
    activation: str | None = None  # softmax, sigmoid, none

    @property
    def of_spec(self) -> dict[str, Any]:
        names = ("input_shape", "labels", "sample_rate_hz", "segment_s", "peak_normalise")
        return {**{name: getattr(self, name) for name in names}, "activation": Activation.named(self.activation)}

    def of_pool(self, settings: Settings) -> dict[str, Any]:
        """What this process's settings say, unless the deployment says otherwise."""
        cores = len(os.sched_getaffinity(0))
        wished = {
            "pool_size": effective_pool_size(settings, cores, on_cpu=False),
            "max_batch_size": effective_max_batch_size(settings),
            "warmup_requests": settings.model_warmup_requests,
            "devices": None if settings.devices == "auto" else settings.devices,
        }
        return {name: value if getattr(self, name) is None else getattr(self, name) for name, value in wished.items()}


class ServingCore:
    """One engine for one process, whichever form of the manager asks. Thread-safe."""

    def __init__(self, config: ConnectionPoolConfig | Settings | None = None) -> None:
        """Reads the settings; starts nothing. Raises ConfigError."""
        if config is None:
            self.settings = load_settings()
        else:
            self.settings = config if isinstance(config, Settings) else config.to_settings()
        self.cache_implementation: Any = None
        self.failures: dict[str, str] = {}  # deployment -> why its last deploy did not succeed
        self._host: EngineHost | None = None
        self._lock = threading.Lock()
        self.ended = False  # by `stop`; `start` begins again

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts or joins an engine. Idempotent; blocks until it can be used."""
        with self._lock:
            if self._host is None:
                host = EngineHost(self.settings)
                host.start()
                self._host = host
                self.ended = False
                atexit.register(self.stop)

    def stop(self) -> None:
        """Lets go of the engine. Idempotent."""
        with self._lock:
            host, self._host = self._host, None
            self.ended = True
            if host is not None:
                atexit.unregister(self.stop)
                host.stop()

    @property
    def client(self) -> EngineClient:
        """Raises NotReady before `start` and after `stop`."""
        host = self._host
        if host is None or host.client is None:
            raise NotReady("the manager is not running")
        return host.client

    # --- deployments ------------------------------------------------------------------------------------------------

    @contextmanager
    def deploy_request(
        self, deployment_id: str, factory: ModelFactory, options: ModelOptions
    ) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """The fields and descriptors of a deploy order; the descriptors live as long as the context."""
        spec, pickled = spec_of(factory, options.of_spec)
        fields = {
            "deployment": deployment_id,
            "spec": spec.to_json(),
            "options": options.of_pool(self.settings),
        }
        fds = [] if pickled is None else [sealed_memfd("factory", pickled)]
        try:
            yield fields, fds
        finally:
            for fd in fds:
                os.close(fd)

    def deployed(self, deployment_id: str, error: EngineError | None) -> bool:
        """Remembers how a deploy ended; whether it did well."""
        if error is None:
            self.failures.pop(deployment_id, None)
            return True
        self.failures[deployment_id] = str(error)
        _log.error("deployment %s failed: %s", deployment_id, error)
        return False

    # --- requests ---------------------------------------------------------------------------------------------------

    def submit(
        self, deployment_id: str, audio_data: object, *, request_id: str, user_id: object, priority: int, due: Deadline
    ) -> tuple[Ticket, ModelDescription]:
        """Lets one array in. Raises EngineError."""
        client = self.client
        description = client.description(deployment_id)
        ticket = client.submit(
            deployment_id,
            [item_of(audio_data, description)],
            request_id=request_id,
            level=level_of(priority),
            deadline=due,
            caller_hash=caller_hash_of(user_id),
        )
        return ticket, description

    def count_cached(self, deployment_id: str, found: object, latency_s: float) -> None:
        """Counts a look into the cache."""
        client = self._host.client if self._host is not None else None
        if client is None:
            return
        if not isinstance(found, dict):
            client.count("cache_misses", deployment_id=deployment_id)
            return
        for name, n in (("cache_hits", 1), ("requests", 1), ("succeeded", 1), ("latency_ns", int(latency_s * 1e9))):
            client.count(name, n, deployment_id=deployment_id)

    def cached(self, deployment_id: str, found: object, *, request_id: str, latency_s: float) -> Result | None:
        """The answer that a cache gave, if it gave one; counted either way."""
        self.count_cached(deployment_id, found, latency_s)
        return from_cache(found, request_id=request_id, latency_s=latency_s) if isinstance(found, dict) else None

    def statistics(self) -> dict[str, Any]:
        """The published statistics."""
        client = self._host.client if self._host is not None else None
        return optimization_stats(client, self.settings)
