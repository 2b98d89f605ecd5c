"""What all connections of one frontend share: the application, the limits, and what is counted over all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from email.utils import formatdate
from typing import Any, Protocol

from frontend.server.decoding_room import LoopRoom
from frontend.server.inflight import InflightBodies
from frontend.server.refusals import wording_of
from frontend.server.transport_limits import TransportLimits
from frontend.server.trusted_proxies import TrustedProxies

Message = Any  # an ASGI event: a dictionary whose keys follow from its "type"
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Receive, Send], Awaitable[None]]


class OpenConnection(Protocol):
    """A connection as the server sees it."""

    transport: asyncio.Transport

    @property
    def is_leaving(self) -> bool:
        """Whether all is said on this connection."""

    def sweep(self, now_s: float) -> None:
        """Ends this connection if its peer has paused too long. `now_s` is the loop's time."""

    def shutdown(self) -> None:
        """Ends an idle connection; a busy one closes after its answer, since the state says draining."""

    def give_up(self) -> None:
        """The time for leaving is over: whoever still waits is told so."""


class TransportState:
    """Made by the server, in its loop. `app_state`: what the application's lifespan has left for its requests."""

    def __init__(
        self,
        app: AsgiApp,
        *,
        loop: asyncio.AbstractEventLoop,
        limits: TransportLimits = TransportLimits(),
        trusted_proxies: TrustedProxies = TrustedProxies(()),
    ) -> None:
        self.app = app
        self.wording = wording_of(app)
        self.app_state: dict[str, Any] = {}
        self.loop = loop
        self.limits = limits
        self.trusted_proxies = trusted_proxies
        self.inflight = InflightBodies(
            limit_bytes=limits.max_inflight_bytes,
            longest_body_bytes=limits.longest_body_bytes,
            patience_s=limits.inflight_wait_s,
        )
        self.room = LoopRoom(self.inflight, loop)
        self.connections: set[OpenConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.total_requests = 0
        self.draining = False  # set once, by the server that leaves: no connection may serve another request
        self.date_line = b""

    def sweep(self) -> None:
        """About twice a second: ends what has paused too long, on every connection, and tells the date."""
        self.date_line = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        now_s = self.loop.time()
        for connection in list(self.connections):
            connection.sweep(now_s)
        self.inflight.sweep(now_s)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in a task that a server which leaves waits for."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
