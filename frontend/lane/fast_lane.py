"""A Flask application on an event loop: the engine's own routes on a lane of their own, everything else in threads.

    application = fast_lane(create_app())                     # our own app, unchanged: the lane is open
    application = fast_lane(app, guard=check)                 # any other: `check` runs before a byte of body is read
    application = fast_lane(app, enabled=True)                # any other, and nothing needs to be checked

The lane never goes round an application's own checks: which routes it may answer is decided in `gate.py`, and asked
again for every request (whether our own application is unchanged, every few milliseconds). Nothing here waits in a
thread or blocks the loop; decoding that takes long has its own pool.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import flask

from engine.client import EngineClient
from engine.clock import now_ns
from engine.config import Settings, cors_origins, effective_fast_lane
from engine.errors import ConfigError
from frontend.attach import LONG_WAIT_S, current_client, current_stores
from frontend.errors import optimized_error
from frontend.lane.answer import LaneAnswer, LaneLoop
from frontend.lane.gate import LaneGate, gate_of
from frontend.lane.seal import seal_of
from frontend.predict.cors import Cors
from frontend.predict.parameters import request_id_of
from frontend.predict.prediction import PredictionRoute
from frontend.server.exchange import Exchange
from frontend.server.message import HttpRequest, HttpResponse, body_limit_bytes
from frontend.server.refusals import RefusedRequest, TransportRefusal
from frontend.server.request_head import headers_of_fields
from frontend.server.thread_pool import ThreadPool
from frontend.server.transport_state import Receive, Send
from frontend.wsgi.bridge import Bridge
from frontend.wsgi.host_guard import Guard
from frontend.wsgi.host_settings import settings_of


def fast_lane(
    app: flask.Flask, *, enabled: bool | None = None, guard: Guard | None = None, settings: Settings | None = None
) -> FastLane:
    """`app` as an ASGI application. Raises ConfigError for wrong settings, an `app` that is no Flask application, or a
    guard where no route of the engine is registered yet that it could stand before.

    `enabled`: True opens the lane for an application of your own, whose checks the engine's routes then skip; False
    closes it. `guard(method, path, headers, address)` opens it too: it returns None, or the response that is sent in
    place of an answer. It runs on the event loop, so it must not block, and before the views of these routes too,
    whatever a request comes by. The setting `fast_lane` can only close it:
    whether an application's checks may be skipped is known to its code and to nobody who sets a variable.
    """
    if not isinstance(app, flask.Flask):
        raise ConfigError(f"fast_lane needs a Flask application, not a {type(app).__name__}")
    settings = settings_of(app, settings)
    if effective_fast_lane(settings) == "off":
        enabled = False
    return FastLane(app, gate_of(app, enabled=enabled, guard=guard, settings=settings), settings)


class FastLane:
    """Made by `fast_lane`."""

    def __init__(self, app: flask.Flask, gate: LaneGate, settings: Settings) -> None:
        self.app = app
        self.gate = gate
        self._settings = settings
        # Which origins may read what somebody else's application says is for that application to tell.
        self._own_cors = Cors(cors_origins(settings) if seal_of(app) is not None else ())
        self._limit_bytes = body_limit_bytes(settings.max_upload_bytes)
        self._bridge = Bridge(app, threads=settings.worker_threads)
        self._pool = ThreadPool(settings.worker_threads, name="decode")
        self._probes = ThreadPool(1, name="probe")
        self._client: EngineClient | None = None
        self._home: LaneLoop | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._bridge(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    def take(self, exchange: Exchange) -> bool:
        """Whether the lane answers `exchange`, now or later; see `exchange.AnsweringApplication`."""
        head = exchange.head
        handler = self.gate.handler(head.method, head.path)
        if handler is None:
            return False
        if self.gate.is_guarded:
            refusal = self.gate.refusal(head.method, head.path, head.headers, head.address)
            if refusal is not None:
                exchange.respond(refusal.status, refusal.headers, refusal.body)
                return True
        home = self._home
        if home is None or home.loop is not exchange.connection.state.loop:
            home = self._home = LaneLoop(self._pool, self._probes, self._current_client)
        exchange.collect(self._limit_bytes, LaneAnswer(home, exchange, handler).begin)
        return True

    def words_for(self, error: TransportRefusal, refused: RefusedRequest) -> HttpResponse:
        """See `refusals.RefusalWording`: as the route itself would say it, where the lane answers it."""
        method, path, fields, client_address, arrival_ns, complete_ns = refused
        headers = headers_of_fields(fields)
        request_id = request_id_of(headers)
        handler = self.gate.handler(method, path)
        if isinstance(handler, PredictionRoute):
            request = HttpRequest(
                method, path, "", headers, b"", client_address, arrival_ns, complete_ns=complete_ns
            )  # fmt: skip
            return handler.refuse(error, request, request_id)
        response = optimized_error(error, request_id)
        row = current_stores(self._settings).row
        row.add_answer(method, "other", response.status, now_ns() - arrival_ns)
        response.headers += [("X-Request-ID", request_id), *self._own_cors.headers(headers)]
        return response

    def close(self) -> None:
        """Ends the threads."""
        self._bridge.close()
        self._pool.close()
        self._probes.close()

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
                self.gate.guard_views()
                # Where our own gunicorn hooks have not attached already, the first request should not find nothing.
                await self._pool.submit(functools.partial(current_client, self._settings, wait_s=LONG_WAIT_S))
                self._current_client()
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._client is not None and not self._client.closed:
                    self._client.use_event_loop(None)  # until it is closed, by a hook that runs without a loop
                await send({"type": "lifespan.shutdown.complete"})
                return
