"""Which handler answers which method and path; one table for both ways in.

All handlers have `begin(request, client)`, where `client` may be None (not attached): they never raise and give a
response or something pending, or nothing where they were asked to be quick and cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.client import EngineClient
from frontend.predict.context import RouteContext
from frontend.predict.operation import Operation
from frontend.predict.pending import Pending
from frontend.predict.prediction import AwaitingRoom, PredictionRoute
from frontend.routes.legacy import LegacyDialect
from frontend.routes.openapi import OPENAPI_PATH, OpenApi
from frontend.routes.optimized import OptimizedDialect
from frontend.routes.probes import HealthProbe, Metrics, OptimizedHealth, ReadyProbe, Stats
from frontend.server.message import HttpRequest, HttpResponse

OPTIMIZED_PREDICT = "/api/optimized/predict"
# The web application joins "<base>/predict" with a base that may end in /api/predict; a gateway strips the whole path.
LEGACY_PREDICT = ("/api/predict", "/predict", "/api/predict/predict", "/")


class Handler(Protocol):
    """One route's work."""

    def begin(
        self, request: HttpRequest, client: EngineClient | None, *, quick: bool = False
    ) -> Pending | HttpResponse | AwaitingRoom | None:
        """Never raises. None, and nothing is begun, only where `quick` is set and it would hold up an event loop."""

    def describe(self) -> Operation:
        """For the OpenAPI document."""


@dataclass(frozen=True)
class RouteTable:
    """Handlers by (method, path)."""

    routes: Mapping[tuple[str, str], Handler]
    context: RouteContext


def optimized_routes(context: RouteContext) -> dict[tuple[str, str], Handler]:
    """What `register_optimized_endpoints` adds to an application."""
    return {
        ("POST", OPTIMIZED_PREDICT): PredictionRoute(OptimizedDialect(context.settings), context),
        ("GET", "/api/optimized/health"): OptimizedHealth(context),
        ("GET", "/api/optimized/stats"): Stats(context),
    }


def legacy_route(context: RouteContext) -> PredictionRoute:
    """The handler of the original API's prediction."""
    return PredictionRoute(LegacyDialect(context.settings), context)


def all_routes(context: RouteContext) -> RouteTable:
    """The table of our own application."""
    legacy = legacy_route(context)
    routes: dict[tuple[str, str], Handler] = {**optimized_routes(context)}
    routes.update({("POST", path): legacy for path in LEGACY_PREDICT})
    probes: dict[str, Handler] = {
        "/health": HealthProbe(context),
        "/ready": ReadyProbe(context),
        "/metrics": Metrics(context),
        OPENAPI_PATH: OpenApi(context, lambda: routes),
    }
    for path, probe in probes.items():
        routes[("GET", path)] = probe
        routes[("GET", f"/api{path}")] = probe
    return RouteTable(routes, context)
