"""The ASGI wrapper around a Flask application: the engine's own routes on the event loop, everything else in threads.

    application = fast_lane(create_app())                     # our own app, unchanged: the lane is open
    application = fast_lane(app, guard=check)                 # any other: `check` runs before a byte of body is read
    application = fast_lane(app, enabled=True)                # any other, and nothing needs to be checked

The lane never goes round an application's own checks: which routes it may answer is decided in `lane_gate`, and asked
again for every request. Nothing here waits in a thread or blocks the loop; decoding that takes long has its own pool.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import flask

from engine.client import EngineClient
from engine.clock import now_ns
from engine.config import Settings, effective_fast_lane, load_settings
from engine.errors import ClientGone
from frontend.attach import current_client
from frontend.bridge import Bridge
from frontend.http_exchange import Exchange, Receive, Send, exchange_of
from frontend.http_message import HttpRequest, HttpResponse, body_limit_bytes
from frontend.lane_gate import Guard, LaneGate, gate_of
from frontend.prediction import Pending
from frontend.routes.table import Handler
from frontend.thread_pool import ThreadPool

_PATIENCE_S = 10.0  # at start, for an engine that is up; well below any server's own limit for a start


def fast_lane(
    app: flask.Flask, *, enabled: bool | None = None, guard: Guard | None = None, settings: Settings | None = None
) -> FastLane:
    """`app` as an ASGI application. Raises ConfigError for wrong settings, or an `app` that is no Flask application.

    `enabled`: None follows the setting `fast_lane`; True opens the lane for an application of your own, whose checks
    the engine's routes then skip; False closes it. `guard(method, path, headers, address)` opens it too: it returns
    None, or the response that is sent in place of an answer. It runs on the event loop, so it must not block.
    """
    settings = settings or load_settings()
    if enabled is None:
        enabled = {"auto": None, "on": True, "off": False}[effective_fast_lane(settings)]
    return FastLane(app, gate_of(app, enabled=enabled, guard=guard, settings=settings), settings)


class FastLane:
    """Made by `fast_lane`."""

    def __init__(self, app: flask.Flask, gate: LaneGate, settings: Settings) -> None:
        self.app = app
        self.gate = gate
        self._settings = settings
        self._limit_bytes = body_limit_bytes(settings.max_upload_bytes)
        self._bridge = Bridge(app, threads=settings.worker_threads)
        self._pool = ThreadPool(settings.worker_threads, name="decode")
        self._client: EngineClient | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = exchange_of(scope)
            if exchange is not None and (handler := self.gate.handler(scope["method"], scope["path"])) is not None:
                await self._answer(handler, exchange)
            else:
                await self._bridge(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    def close(self) -> None:
        """Ends the threads."""
        self._bridge.close()
        self._pool.close()

    async def _answer(self, handler: Handler, exchange: Exchange) -> None:
        arrival_ns = now_ns()
        scope = exchange.scope
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        address = scope["client"][0] if scope["client"] else ""
        refusal = self.gate.refusal(scope["method"], scope["path"], headers, address)
        if refusal is not None:
            exchange.respond(refusal.status, refusal.headers, refusal.body)
            return
        try:
            body = await exchange.collect(self._limit_bytes)
        except ClientGone:
            return
        request = HttpRequest(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body or b"",
            client_address=address,
            arrival_ns=arrival_ns,
            body_too_large=body is None,
        )
        response = await self._handle(handler, request, exchange)
        exchange.respond(response.status, response.headers, response.body)

    async def _handle(self, handler: Handler, request: HttpRequest, exchange: Exchange) -> HttpResponse:
        client = self._current_client()
        begin = functools.partial(handler.begin, request, client)
        begun: Pending | HttpResponse
        begun = begin() if self.gate.table.cheap(request, client) else await self._pool.submit(begin)
        if isinstance(begun, HttpResponse):
            return begun
        if exchange.disconnected:
            begun.cancel()
        else:
            exchange.on_gone = begun.cancel
        return await begun.finish_async()

    def _current_client(self) -> EngineClient | None:
        client = current_client(self._settings)
        if client is not self._client:
            self._client = client
            if client is not None:
                client.use_event_loop(asyncio.get_running_loop())
        return client

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                # Where our own gunicorn hooks have not attached already, the first request should not find nothing.
                await self._pool.submit(functools.partial(current_client, self._settings, wait_s=_PATIENCE_S))
                self._current_client()
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._client is not None and not self._client.closed:
                    self._client.use_event_loop(None)  # until it is closed, by a hook that runs without a loop
                await send({"type": "lifespan.shutdown.complete"})
                return
