"""One request on the fast lane: body, decoding, ticket, answer, with no task of its own unless something has to wait.

Each step is called by what the one before waited for: the exchange once the body is complete, the ticket once it is
done. A task for each request was a tenth of a frontend's time.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable

from engine.client import EngineClient
from engine.clock import now_ns
from frontend.predict.pending import Pending
from frontend.predict.prediction import AwaitingRoom
from frontend.routes.table import Handler
from frontend.server.body import Body
from frontend.server.decoding_room import Room
from frontend.server.exchange import Exchange
from frontend.server.message import HttpRequest, HttpResponse
from frontend.server.thread_pool import ThreadPool


class LaneLoop:
    """The event loop that a lane runs on, and its threads for what would block it. Made in the loop's thread."""

    def __init__(
        self, pool: ThreadPool, probes: ThreadPool, current_client: Callable[[], EngineClient | None]
    ) -> None:
        self.pool = pool
        self.probes = probes  # of their own: who asks whether we are well must not wait for recordings
        self.current_client = current_client
        self.loop = asyncio.get_running_loop()
        self.thread_id = threading.get_ident()


class LaneAnswer:
    """Every step runs on the event loop; what raises in one of them is answered by `Exchange.attempt`."""

    __slots__ = ("_begun", "_exchange", "_handler", "_home")

    def __init__(self, home: LaneLoop, exchange: Exchange, handler: Handler) -> None:
        self._home = home
        self._exchange = exchange
        self._handler = handler
        self._begun: Pending | None = None

    def begin(self, body: Body | None) -> None:
        """The body is complete; None: it was too large and is gone."""
        exchange, client = self._exchange, self._home.current_client()
        head = exchange.head
        request = HttpRequest(
            method=head.method,
            path=head.path,
            query=head.query.decode("latin-1"),
            headers=head.headers,
            body=body or b"",
            client_address=head.address,
            arrival_ns=exchange.arrived_ns,
            complete_ns=exchange.completed_ns or now_ns(),
            body_too_large=body is None,
        )
        begun = self._handler.begin(request, client, quick=True)
        assert not isinstance(begun, AwaitingRoom)  # what is quick needs none
        if begun is None:
            self._exchange.spawn(self._begin_elsewhere(request, client))
        else:
            self._follow(begun)

    async def _begin_elsewhere(self, request: HttpRequest, client: EngineClient | None) -> None:
        pool = self._home.probes if request.method == "GET" else self._home.pool
        self._exchange.on_gone = functools.partial(_forget_body, request)
        begun = await pool.submit(functools.partial(self._begin_for_somebody, request, client))
        if isinstance(begun, AwaitingRoom):
            room = await self._room_for(begun)  # with no thread: what is short is decoded meanwhile
            begun = await pool.submit(functools.partial(self._go_on_for_somebody, begun, room))
            del room
        if begun is not None:
            self._follow(begun)

    async def _room_for(self, awaiting: AwaitingRoom) -> Room | None:
        room: asyncio.Future[Room | None] = self._home.loop.create_future()
        given = self._exchange.room
        wish = given.ask(awaiting.size_bytes, awaiting.body_bytes, awaiting.wait_s, functools.partial(_tell, room))
        self._exchange.on_gone = functools.partial(given.take_back, wish)
        try:
            return None if self._exchange.disconnected else await room
        finally:
            given.take_back(wish)
            self._exchange.on_gone = functools.partial(_forget_body, awaiting.request)

    def _begin_for_somebody(
        self, request: HttpRequest, client: EngineClient | None
    ) -> Pending | HttpResponse | AwaitingRoom | None:
        """In a thread, perhaps long after it was asked for: None for a client that has gone meanwhile."""
        return None if self._exchange.disconnected else self._handler.begin(request, client)

    def _go_on_for_somebody(self, awaiting: AwaitingRoom, room: Room | None) -> Pending | HttpResponse | None:
        """The same once there is room, or none."""
        return None if self._exchange.disconnected else awaiting.go_on(room)

    def _follow(self, begun: Pending | HttpResponse) -> None:
        if isinstance(begun, HttpResponse):
            self._respond(begun)
        elif self._exchange.disconnected:
            begun.cancel()
        else:
            self._begun = begun
            self._exchange.on_gone = begun.cancel
            begun.add_done_callback(self._done)

    def _done(self, _: object) -> None:
        """In whichever thread finished the ticket; nearly always that of the loop, which drives the client."""
        if threading.get_ident() == self._home.thread_id:
            self._exchange.attempt(self._finish)
            return
        try:
            self._home.loop.call_soon_threadsafe(self._exchange.attempt, self._finish)
        except RuntimeError:  # the loop is closed, and its connections with it
            return

    def _finish(self) -> None:
        assert self._begun is not None
        response = self._begun.finish_at_once()
        if response is None:
            self._exchange.spawn(self._finish_elsewhere(self._begun))
        elif isinstance(response, HttpResponse):
            self._exchange.respond(response.status, response.headers, response.body)
        else:
            self._follow(response)

    async def _finish_elsewhere(self, begun: Pending) -> None:
        # What is over and takes long to word; nobody waits for anybody here. Not in the lane's own pool, where it would
        # stand behind recordings that are to be decoded.
        self._follow(await asyncio.to_thread(begun.finish))

    def _respond(self, response: HttpResponse) -> None:
        self._exchange.respond(response.status, response.headers, response.body)


def _forget_body(request: HttpRequest) -> None:
    """Nobody waits any more: an upload that waits for a thread is let go of, and refused there at once."""
    request.body = b""
    request.upload = None


def _tell(waiter: asyncio.Future[Room | None], room: Room | None) -> None:
    if not waiter.done():
        waiter.set_result(room)
