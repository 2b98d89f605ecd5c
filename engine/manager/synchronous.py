"""The manager for scripts and threads: the same names without `await`."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from engine.clock import NS_PER_S, now_ns
from engine.config import ConnectionPoolConfig, Settings
from engine.errors import EngineError
from engine.manager.asked import Asked, seconds_of
from engine.manager.core import DEPLOY_S, ModelOptions, ServingCore
from engine.manager.factory import ModelFactory
from engine.manager.foreign_cache import Origin, ask, for_keeping
from engine.manager.results import Promise, Result, failed, success

_log = logging.getLogger(__name__)


class SyncModelServingManager:
    """Deploys models and predicts, blocking. Any thread may call. Usable as a context manager."""

    def __init__(
        self, config: ConnectionPoolConfig | Settings | None = None, *, core: ServingCore | None = None
    ) -> None:
        """Reads settings, starts nothing; see `initialize`. `core`: share one with another manager."""
        self.core = ServingCore(config) if core is None else core

    def initialize(self) -> SyncModelServingManager:
        """Starts an engine of its own, or joins one that runs in the configured runtime directory. Idempotent."""
        self.core.start()
        return self

    def __enter__(self) -> SyncModelServingManager:
        return self.initialize()

    def __exit__(self, *exception: object) -> None:
        self.shutdown()

    @property
    def cache_implementation(self) -> Any:
        """Any object with `get_prediction(audio_data)` and `cache_prediction(audio_data, result)`, sync or async.

        Coroutines of an async one all run in one event loop, which has a thread of its own.
        """
        return self.core.cache_implementation

    @cache_implementation.setter
    def cache_implementation(self, value: Any) -> None:
        self.core.cache_implementation = value

    def deploy_optimized_model(
        self, deployment_id: str, factory: ModelFactory, *, timeout: float = DEPLOY_S, **options: Any
    ) -> bool:
        """As the asynchronous manager's, blocking."""
        error: EngineError | None = None
        with self.core.deploy_request(deployment_id, factory, ModelOptions(**options)) as (fields, fds):
            try:
                self._client_driven().request("deploy", timeout_s=seconds_of(timeout), fds=fds, **fields)
            except EngineError as failure:
                error = failure.with_traceback(None)  # it leads to this very frame
        return self.core.deployed(deployment_id, error)

    def undeploy_optimized_model(self, deployment_id: str, *, timeout: float = DEPLOY_S) -> bool:
        """Takes a model out of service, once what is under way is answered; False when there was none."""
        try:
            self._client_driven().request("undeploy", timeout_s=seconds_of(timeout), deployment=deployment_id)
        except EngineError as error:
            _log.warning("undeploy of %s: %s", deployment_id, error)
            return False
        return True

    def deployment_error(self, deployment_id: str) -> str:
        """Why the last deploy of this id did not succeed; empty when it did."""
        return self.core.failures.get(deployment_id, "")

    def predict(
        self,
        deployment_id: str,
        audio_data: Any,
        request_id: str | None = None,
        user_id: str | None = None,
        priority: int = 0,
        timeout: float = 30.0,
    ) -> Result:
        """As the asynchronous manager's `predict_async`, blocking for at most `timeout` seconds."""
        began_ns = now_ns()
        request_id = uuid.uuid4().hex if request_id is None else request_id
        with Promise(request_id, timeout) as promise:
            asked = Asked.of(
                deployment_id, request_id=request_id, user_id=user_id, priority=priority, timeout=timeout
            )
            promise.result = self._answer(asked, audio_data, timeout)
        self.core.record(deployment_id, promise.result, priority=priority, began_ns=began_ns)
        return promise.result

    def _answer(self, asked: Asked, audio_data: Any, timeout: float) -> Result:
        """Raises EngineError for what never got in."""
        self.core.check_ours()
        cache = self.core.cache_implementation
        if cache is not None:
            found = ask(cache, "get_prediction", audio_data, due=asked.due, loop=self.core.cache_loop)
            if result := self.core.cached(asked, found):
                return result
        self._client_driven()
        ticket, description = self.core.submit(asked, audio_data)
        try:
            answer = ticket.wait()[0]
        except EngineError as error:
            return failed(error, request_id=asked.request_id, timeout=timeout)
        finally:
            ticket.cancel()  # nothing to cancel unless this thread was interrupted
        model = ticket.model or description  # a swap may have come between
        latency_s = (now_ns() - asked.began_ns) / NS_PER_S
        result = success(answer, model, request_id=asked.request_id, latency_s=latency_s)
        if cache is not None:
            kept = for_keeping(result, Origin(asked.deployment_id, model.model_version))
            ask(cache, "cache_prediction", audio_data, kept, due=asked.due, loop=self.core.cache_loop)
        return result

    def get_optimization_stats(self) -> dict[str, Any]:
        """The published statistics; see `engine.observe.stats`."""
        return self.core.statistics()

    def shutdown(self) -> None:
        """Answers what is under way with an error and lets go of the engine. Idempotent."""
        self.core.stop()

    def _client_driven(self) -> Any:
        """The client, with somebody there who drives it."""
        client = self.core.client
        client.prefer_event_loop(None)
        return client
