"""The manager for asyncio programs. The running loop drives the engine's client: an answer costs no thread hop."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from engine.clock import NS_PER_S, now_ns
from engine.config import ConnectionPoolConfig, Settings
from engine.errors import EngineError
from engine.manager.asked import Asked, seconds_of
from engine.manager.core import DEPLOY_S, ModelOptions, ServingCore
from engine.manager.factory import ModelFactory
from engine.manager.foreign_cache import Origin, ask_async, for_keeping
from engine.manager.results import Promise, Result, failed, success

_log = logging.getLogger(__name__)


class OptimizedModelServingManager:
    """Deploys models and predicts, in coroutines. Usable as an async context manager."""

    def __init__(
        self, config: ConnectionPoolConfig | Settings | None = None, *, core: ServingCore | None = None
    ) -> None:
        """Reads settings, starts nothing; see `initialize`. `core`: share one with another manager."""
        self.core = ServingCore(config) if core is None else core

    async def initialize(self) -> OptimizedModelServingManager:
        """Starts an engine of its own, or joins one that runs in the configured runtime directory. Idempotent."""
        await asyncio.to_thread(self.core.start)
        return self

    async def __aenter__(self) -> OptimizedModelServingManager:
        return await self.initialize()

    async def __aexit__(self, *exception: object) -> None:
        await self.shutdown()

    @property
    def cache_implementation(self) -> Any:
        """Any object with `get_prediction(audio_data)` and `cache_prediction(audio_data, result)`, sync or async."""
        return self.core.cache_implementation

    @cache_implementation.setter
    def cache_implementation(self, value: Any) -> None:
        self.core.cache_implementation = value

    async def deploy_optimized_model(
        self, deployment_id: str, factory: ModelFactory, *, timeout: float = DEPLOY_S, **options: Any
    ) -> bool:
        """Serves a model: a function that makes it (closures too), a path of weights, or a ModelSpec.

        An id that exists is swapped without failing a request. `options`: fields of ModelOptions. False when the model
        could not be started; `deployment_error` says why. Raises ConfigError for what is no model.
        """
        error: EngineError | None = None
        with self.core.deploy_request(deployment_id, factory, ModelOptions(**options)) as (fields, fds):
            try:
                await self.core.client.request_async("deploy", timeout_s=seconds_of(timeout), fds=fds, **fields)
            except EngineError as failure:
                error = failure.with_traceback(None)  # it leads to this very frame
        return self.core.deployed(deployment_id, error)

    async def undeploy_optimized_model(self, deployment_id: str, *, timeout: float = DEPLOY_S) -> bool:
        """Takes a model out of service, once what is under way is answered; False when there was none."""
        try:
            await self.core.client.request_async("undeploy", timeout_s=seconds_of(timeout), deployment=deployment_id)
        except EngineError as error:
            _log.warning("undeploy of %s: %s", deployment_id, error)
            return False
        return True

    def deployment_error(self, deployment_id: str) -> str:
        """Why the last deploy of this id did not succeed; empty when it did."""
        return self.core.failures.get(deployment_id, "")

    async def predict_async(
        self,
        deployment_id: str,
        audio_data: Any,
        request_id: str | None = None,
        user_id: str | None = None,
        priority: int = 0,
        timeout: float = 30.0,
    ) -> Result:
        """One prediction. Never raises for what goes wrong with it: failures are dictionaries with `error`.

        `audio_data`: an array in the model's input shape; for waveform models float32 (or int16) mono at the model's
        rate, at most one segment. A higher `priority` is served first. `timeout` in seconds.
        """
        began_ns = now_ns()
        request_id = uuid.uuid4().hex if request_id is None else request_id
        with Promise(request_id, timeout) as promise:
            asked = Asked.of(
                deployment_id, request_id=request_id, user_id=user_id, priority=priority, timeout=timeout
            )
            promise.result = await self._answer(asked, audio_data, timeout)
        self.core.record(deployment_id, promise.result, priority=priority, began_ns=began_ns)
        return promise.result

    async def _answer(self, asked: Asked, audio_data: Any, timeout: float) -> Result:
        """Raises EngineError for what never got in."""
        self.core.check_ours()
        cache = self.core.cache_implementation
        if cache is not None:
            found = await ask_async(cache, "get_prediction", audio_data, due=asked.due)
            if result := self.core.cached(asked, found):
                return result
        self._drive()
        ticket, description = self.core.submit(asked, audio_data)
        try:
            answer = (await ticket)[0]
        except EngineError as error:
            return failed(error, request_id=asked.request_id, timeout=timeout)
        finally:
            ticket.cancel()  # nothing to cancel unless this coroutine was
        model = ticket.model or description  # a swap may have come between
        latency_s = (now_ns() - asked.began_ns) / NS_PER_S
        result = success(answer, model, request_id=asked.request_id, latency_s=latency_s)
        if cache is not None:
            kept = for_keeping(result, Origin(asked.deployment_id, model.model_version))
            await ask_async(cache, "cache_prediction", audio_data, kept, due=asked.due)
        return result

    async def get_optimization_stats(self) -> dict[str, Any]:
        """The published statistics; see `engine.observe.stats`."""
        return self.core.statistics()

    async def shutdown(self) -> None:
        """Answers what is under way with an error and lets go of the engine. Idempotent."""
        await asyncio.to_thread(self.core.stop)

    def _drive(self) -> None:
        """Lets the running loop drive the client, unless another loop does."""
        self.core.client.prefer_event_loop(asyncio.get_running_loop())
