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
from engine.clock import NS_PER_S, now_ns
from engine.config import ConnectionPoolConfig, Settings, effective_max_batch_size, load_settings, wanted_pool_size
from engine.errors import EngineError, InheritedByFork, NotReady
from engine.manager.asked import Asked
from engine.manager.factory import ModelFactory, spec_of
from engine.manager.foreign_cache import Origin, believed
from engine.manager.foreign_loop import ForeignLoop
from engine.manager.host import EngineHost
from engine.manager.journal_entry import record_prediction
from engine.manager.results import Result, from_cache, item_of
from engine.messages import sealed_memfd
from engine.observe.stats import optimization_stats
from engine.shm.forked import not_for_children
from engine.spec import Activation

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
    onnx_output: str | None = None  # of an .onnx file with several outputs: the name of the one with the classes
    tuning: str | None = None  # on, off; None: as the settings of the engine say
    precision: str | None = None  # fp32, auto, bf16, fp16, int8; None: the same

    @property
    def of_spec(self) -> dict[str, Any]:
        names = ("input_shape", "labels", "sample_rate_hz", "segment_s", "peak_normalise", "onnx_output")
        return {**{name: getattr(self, name) for name in names}, "activation": Activation.named(self.activation)}

    def of_pool(self, settings: Settings) -> dict[str, Any]:
        """What this process's settings say, unless the deployment says otherwise."""
        wished = {
            "pool_size": wanted_pool_size(settings),
            "max_batch_size": effective_max_batch_size(settings),
            "warmup_requests": settings.model_warmup_requests,
            "devices": None if settings.devices == "auto" else settings.devices,
            "tuning": None,
            "precision": None,
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
        self.cache_loop = ForeignLoop()  # for an async cache and callers without a loop
        self.failures: dict[str, str] = {}  # deployment -> why its last deploy did not succeed
        self._host: EngineHost | None = None
        self._lock = threading.Lock()
        self.ended = False  # by `stop`; `start` begins again
        self._pid = os.getpid()
        self._inherited = False  # this is a forked child, and the engine its parent's
        not_for_children(self)

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts or joins an engine. Idempotent; blocks until it can be used. Raises EngineError."""
        self.check_ours()
        with self._lock:
            if self._host is None:
                host = EngineHost(self.settings)
                host.start()
                self._host, self._pid = host, os.getpid()
                self.ended = False
                atexit.register(self.stop)

    def stop(self) -> None:
        """Lets go of the engine. Idempotent; nothing in a forked child, whose parent goes on using it."""
        if self._host is not None and self._pid != os.getpid():
            self.let_go_in_child()
            return
        with self._lock:
            host, self._host = self._host, None
            self.ended = True
            if host is not None:
                atexit.unregister(self.stop)
                host.stop()
        self.cache_loop.close()

    def let_go_in_child(self) -> None:
        """In a forked child: neither the engine nor its folder is ours to end."""
        self._lock = threading.Lock()
        self.cache_loop = ForeignLoop()  # the parent's thread is not here
        if self._host is not None:
            atexit.unregister(self.stop)
            self._host, self._inherited, self.ended = None, True, True

    def check_ours(self) -> None:
        """Raises InheritedByFork in a forked child."""
        if self._inherited:
            raise InheritedByFork()

    @property
    def client(self) -> EngineClient:
        """Raises NotReady before `start` and after `stop`, InheritedByFork in a forked child."""
        self.check_ours()
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

    def submit(self, asked: Asked, audio_data: object) -> tuple[Ticket, ModelDescription]:
        """Lets one array in. Raises EngineError."""
        client = self.client
        description = client.description(asked.deployment_id)
        ticket = client.submit(
            asked.deployment_id,
            [item_of(audio_data, description)],
            request_id=asked.request_id,
            level=asked.level,
            deadline=asked.due,
            caller_hash=asked.caller_hash,
        )
        return ticket, description

    def cached(self, asked: Asked, found: object) -> Result | None:
        """The answer that a cache gave, if it gave one of the model that serves; counted either way.

        Raises EngineError where none serves: what it once said is not asked for then.
        """
        known = None
        if found is not None:
            model = self.client.description(asked.deployment_id)
            known = believed(found, Origin(asked.deployment_id, model.model_version))
        latency_s = (now_ns() - asked.began_ns) / NS_PER_S
        self._count_cached(asked.deployment_id, known is not None, latency_s)
        return None if known is None else from_cache(known, request_id=asked.request_id, latency_s=latency_s)

    def _count_cached(self, deployment_id: str, is_hit: bool, latency_s: float) -> None:
        client = self._host.client if self._host is not None else None
        if client is None:
            return
        if not is_hit:
            client.count("cache_misses", deployment_id=deployment_id)
            return
        for name, n in (("cache_hits", 1), ("requests", 1), ("succeeded", 1), ("latency_ns", int(latency_s * 1e9))):
            client.count(name, n, deployment_id=deployment_id)

    def record(self, deployment_id: str, result: Result, *, priority: float, began_ns: int) -> None:
        """Writes what a caller is about to get into the journal, if one is kept."""
        host = self._host
        stores = host.stores if host is not None else None
        if host is None or host.client is None or stores is None or stores.journal is None:
            return
        record_prediction(
            stores.journal,
            host.client,
            deployment_id=deployment_id,
            result=result,
            priority=priority,
            latency_s=(now_ns() - began_ns) / NS_PER_S,
        )

    def statistics(self) -> dict[str, Any]:
        """The published statistics."""
        host = self._host
        if host is None:
            return optimization_stats(None, self.settings, None)
        totals = host.stores.totals() if host.stores is not None else None
        return optimization_stats(host.client, self.settings, totals)
