"""Health, readiness, metrics and statistics: answered whether or not the engine is there.

Live means that this process answers; ready means that an instance makes progress. Probes never wait for a lane, a
batch or the supervisor.
"""

from __future__ import annotations

import datetime
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from engine.client import EngineClient
from engine.clock import wall_clock_s
from engine.errors import EngineError
from engine.observe.exposition import CONTENT_TYPE, exposition
from engine.observe.metrics import CACHE_LEVELS
from engine.observe.stats import optimization_stats
from engine.observe.store_health import connected, store_reasons
from engine.observe.store_stats import Totals, cache
from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.attach import current_stores
from frontend.predict.context import RouteContext
from frontend.predict.operation import JSON, JsonSchema, Operation, OperationAnswer
from frontend.predict.parameters import request_id_of
from frontend.routes.answer_schemas import ENGINE_HEALTH, ENGINE_NOT_READY, HEALTH, READINESS, STATISTICS
from frontend.server.message import HttpRequest, HttpResponse, json_response

DISTRIBUTION = "nightscan-engine"
_MIN_FREE_DISK_BYTES = 100 * 1024 * 1024
_MIN_FREE_MEMORY_BYTES = 100 * 1024 * 1024


class _Probe:
    """A GET without input. Subclasses give `_answer`, and what is written in the OpenAPI document."""

    is_quick = False  # whether an event loop may wait for the answer
    summary = ""
    success: JsonSchema = {}
    not_ready: JsonSchema | None = None  # the 503 of this route, if it has one of its own
    content_type = JSON

    def __init__(self, context: RouteContext) -> None:
        self._context = context

    def begin(
        self, request: HttpRequest, client: EngineClient | None, *, quick: bool = False
    ) -> HttpResponse | None:
        """Never raises. None: not quick."""
        if quick and not self.is_quick:
            return None
        request_id = request_id_of(request.headers)
        try:
            response = self._answer(client)
        except EngineError as error:
            response = json_response(503, {"error": str(error), "code": error.code, "request_id": request_id})
        return self._context.complete(response, request, request_id, endpoint="other")

    def describe(self) -> Operation:
        broken: JsonSchema = {"$ref": "#/components/schemas/Error"}
        schema = broken if self.not_ready is None else {"anyOf": [self.not_ready, broken]}
        answers = {200: OperationAnswer(self.summary, self.success, self.content_type)}
        return Operation(self.summary, "operation", {**answers, 503: OperationAnswer("Not now", schema)})

    def _answer(self, client: EngineClient | None) -> HttpResponse:
        raise NotImplementedError

    def _totals(self) -> Totals:
        """What all processes of the machine have counted; until they are met, this one alone."""
        return current_stores(self._context.settings).totals()


class HealthProbe(_Probe):
    """`GET /health`: this process is up."""

    is_quick = True
    summary = "This process lives"
    success = HEALTH

    def _answer(self, client: EngineClient | None) -> HttpResponse:
        value = {"status": "healthy", "service": "prediction-api", "timestamp": iso_now(), "version": _VERSION}
        return json_response(200, value)


class ReadyProbe(_Probe):
    """`GET /ready`: a prediction would be answered now."""

    summary = "A prediction would be answered"
    success = READINESS
    not_ready = READINESS

    def _answer(self, client: EngineClient | None) -> HttpResponse:
        loaded = serves(client)
        disk = shutil.disk_usage("/").free >= _MIN_FREE_DISK_BYTES
        memory = psutil.virtual_memory().available >= _MIN_FREE_MEMORY_BYTES
        ready = loaded and disk and memory  # a store that is away is no reason to send nobody here any more
        kept = cache(self._totals(), self._context.settings)
        levels = {level: kept[level]["state"] for level in CACHE_LEVELS}
        checks = {
            "model_loaded": loaded,
            "disk_space": disk,
            "memory": memory,
            "gpu_available": _on_gpu(client),
            "cache": "ok" in levels.values(),
        }
        value = {
            "status": "ready" if ready else "not_ready",
            "checks": checks,
            "cache": {"enabled": kept["ttl_s"] is not None, "ttl_s": kept["ttl_s"], **levels},
            "timestamp": iso_now(),
        }
        return json_response(200 if ready else 503, value)


class OptimizedHealth(_Probe):
    """`GET /api/optimized/health`: the engine as its users see it."""

    is_quick = True
    summary = "The engine as its users see it"
    success = ENGINE_HEALTH
    not_ready = ENGINE_NOT_READY

    def _answer(self, client: EngineClient | None) -> HttpResponse:
        now_s = wall_clock_s()
        if client is None:
            return json_response(503, {"status": "not_ready", "initialized": False, "timestamp": now_s})
        deployments = client.deployments()
        if not any(client.ready(name) for name in deployments):
            return json_response(503, {"status": "not_ready", "initialized": False, "timestamp": now_s})
        totals = self._totals()
        reasons = [f"{name} is {client.state(name)}" for name in deployments if not client.ready(name)]
        reasons += store_reasons(totals, self._context.settings)
        value = {
            "status": "degraded" if reasons else "healthy",
            "initialized": True,
            "timestamp": now_s,
            "model_pools": len(deployments),
            "active_connections": {pool: connected(totals, pool) for pool in ("database", "redis")},
            "reasons": reasons,
        }
        return json_response(200, value)


class Stats(_Probe):
    """`GET /api/optimized/stats`: the published statistics."""

    summary = "Statistics, the same whichever process answers"
    success = STATISTICS

    def _answer(self, client: EngineClient | None) -> HttpResponse:
        return json_response(200, optimization_stats(client, self._context.settings, self._totals()))


class Metrics(_Probe):
    """`GET /metrics`: Prometheus text."""

    summary = "Prometheus text"
    success: JsonSchema = {"type": "string"}
    content_type = CONTENT_TYPE

    def _answer(self, client: EngineClient | None) -> HttpResponse:
        settings, stores = self._context.settings, current_stores(self._context.settings)
        # What this process alone has counted is not shown where the machine's figures are to come: the next scrape
        # may reach another process, and a counter would seem to fall.
        alone = None if settings.enabled else stores.totals()
        totals, seats = stores.machine_figures() or (alone, [])
        text = exposition(client, settings, totals, seats)
        return HttpResponse(200, [("Content-Type", CONTENT_TYPE)], text)


def iso_now() -> str:
    """The time of day in UTC, ISO 8601."""
    return datetime.datetime.fromtimestamp(wall_clock_s(), datetime.timezone.utc).isoformat()


def serves(client: EngineClient | None) -> bool:
    """Whether the default deployment answers."""
    return client is not None and client.ready(DEFAULT_DEPLOYMENT_ID)


def _on_gpu(client: EngineClient | None) -> bool:
    if client is None or not serves(client):
        return False
    return client.description(DEFAULT_DEPLOYMENT_ID).device.startswith("cuda")


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # a checkout that was never installed
        return "unknown"


_VERSION: Any = _version()
