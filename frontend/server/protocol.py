"""HTTP/1.1 on one connection: `RequestReader` reads, `Exchange` answers, and what lies between is here.

`sweep`, called by the server about twice a second, ends connections that pause too long: one clock for all instead of
a timer for each request.

A connection that must not serve another request *lingers*: what the peer still sends is read and thrown away for a
moment. Closing with unread bytes would reset the connection, and the peer would never see its answer.

Nothing here outlives the connection: when it is lost, every way back to it is taken away, so that a body that nobody
will read goes at once and not with the next run of the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from engine.clock import NS_PER_MS, now_ns
from frontend.server.asgi_call import AsgiCall
from frontend.server.connection_flow import ConnectionFlow, Pause
from frontend.server.connection_pace import ConnectionPace
from frontend.server.exchange import REQUEST_ID, AnsweringApplication, Exchange
from frontend.server.head import RequestHead, path_of
from frontend.server.peer import HttpPeer
from frontend.server.reader import RequestReader
from frontend.server.refusals import (
    BodyTooSlow,
    HeadersTooSlow,
    Leaving,
    RefusedRequest,
    TooManyConnections,
    TransportRefusal,
    last_answer,
)
from frontend.server.server_log import log_access, logs_access
from frontend.server.transport_state import TransportState


class NightScanProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        *("_answering", "_lane", "_pace", "_reader", "_started", "flow", "is_lingering"),
        *("state", "transport", "waiting"),
    )

    transport: asyncio.Transport
    flow: ConnectionFlow
    _reader: RequestReader

    def __init__(self, state: TransportState) -> None:
        self.state = state
        app: object = state.app
        self._lane = app if isinstance(app, AnsweringApplication) else None
        self._pace = ConnectionPace(state.limits, state.loop.time())
        self._answering: Exchange | None = None  # the oldest exchange without a complete response, else the last one
        self._started: Exchange | None = None  # the last one that the application or its lane got
        self.waiting: deque[Exchange] = deque()  # pipelined requests behind `_answering`
        self.is_lingering = False

    # --- connection -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self.flow = ConnectionFlow(transport)
        peer = HttpPeer(transport, self.state.trusted_proxies)
        self._reader = RequestReader(self, peer, self._pace, self.state)
        self.state.connections.add(self)
        if len(self.state.connections) > self.state.limits.max_connections:
            self.refuse(TooManyConnections())

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)
        self.is_lingering = True
        self.flow.resume_writing()
        unanswered = [self._answering, *self.waiting]
        self.waiting.clear()
        self._answering = self._started = None
        self._reader.close()
        for exchange in unanswered:
            if exchange is not None and not exchange.response_complete:
                exchange.abandon()

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        if self.waiting:
            self.state.loop.call_soon(self._start_next)

    def data_received(self, data: bytes) -> None:
        self._pace.received_bytes += len(data)
        if self.is_lingering or self._reader.is_deaf:
            self._discard(len(data))
        else:
            self._reader.receive(data)

    def _discard(self, size_bytes: int) -> None:
        reader = self._reader
        reader.discarded_bytes += size_bytes
        if reader.discarded_bytes > self.state.limits.discard_bytes:
            self.transport.abort()

    def linger(self) -> None:
        """Ends this connection once its peer has seen what was written: half-closes, then reads into nothing."""
        if self.is_lingering or self.transport.is_closing():
            return
        self.is_lingering, self._reader.discarded_bytes = True, 0
        self._reader.forget()
        self._pace.moved(self.state.loop.time())
        self.flow.read_on()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # --- refusals ---------------------------------------------------------------------------------------------------

    def refuse(self, error: TransportRefusal) -> None:
        """Answers a request that no application will see; the last answer of this connection."""
        if self.is_lingering or self.transport.is_closing():
            return
        exchange = self._answering
        if exchange is None or exchange.response_complete:
            head, method = self._reader.head_so_far()
            path = path_of(head)
            moment_ns = now_ns()
            refused = RefusedRequest(method if path else "", path, head.fields, head.address, moment_ns, moment_ns)
            words = self.state.wording.words_for(error, refused)
            self.transport.write(last_answer(words))
            request_id = dict(words.headers).get(REQUEST_ID, "")
            log_access(method, path, words.status, request_id, head.address, None, whole=False)
        else:
            exchange.refuse(error)
        self.linger()

    def refuse_parsed(self, error: TransportRefusal) -> None:
        """See `ReadConnection`."""
        answering = self._answering
        if answering is None or answering.response_complete or answering.more_body:
            self.refuse(error)
        else:  # nonsense behind a good request: that one still gets its answer, as the last one
            answering.keep_alive = False
            self._reader.go_deaf()
            self.waiting.clear()

    # --- exchanges --------------------------------------------------------------------------------------------------

    def head_complete(self, head: RequestHead, *, keep_alive: bool) -> Exchange:
        """See `ReadConnection`."""
        exchange = Exchange(self, head, keep_alive=keep_alive)
        if not self.waiting and (self._answering is None or self._answering.response_complete):
            self._answering = exchange
        else:  # a pipelined request: one at a time
            self.waiting.append(exchange)
        return exchange

    @property
    def is_full(self) -> bool:
        """See `ReadConnection`."""
        return len(self.waiting) >= self.state.limits.max_pipelined

    def move_on(self) -> None:
        """Starts or wakes what is being answered: never inside a callback of the parser, which is not done yet then."""
        exchange = self._answering
        if exchange is None or exchange.response_complete:
            return
        if self._started is exchange:
            exchange.wake()
            return
        self._started = exchange
        taken = False if self._lane is None else exchange.attempt(self._lane.take, exchange)
        if taken is False:
            self.state.spawn(AsgiCall(exchange).run(self.state.app))

    def _start_next(self) -> None:
        # A client that does not read its answers gets no more of them: they would only pile up in memory.
        if self.is_leaving or self.flow.write_paused:
            return
        if self.waiting and (self._answering is None or self._answering.response_complete):
            self._answering = self.waiting.popleft()
            self.move_on()
        if self._reader.has_more:
            self._reader.read_on()

    def response_completed(self) -> None:
        """See `ExchangeConnection`: what happens to the connection now."""
        exchange, transport = self._answering, self.transport
        assert exchange is not None
        self.state.total_requests += 1
        self._pace.moved(self.state.loop.time())
        if logs_access(exchange.status):
            _log_access(exchange)
        if self.is_lingering or transport.is_closing():
            return
        if not exchange.keep_alive:
            if exchange.more_body or self._reader.discarded_bytes:
                self.linger()
            else:
                transport.close()
            return
        self.flow.resume_reading(Pause.UNFETCHED)
        if self.waiting or self._reader.has_more:
            # Not here: a thousand pipelined requests that are each refused at once would be a thousand calls deep.
            self.state.loop.call_soon(self._start_next)

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def is_leaving(self) -> bool:
        """Whether all is said on this connection."""
        return self.is_lingering or self.transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether nothing was begun on this connection that somebody waits for."""
        answering = self._answering
        busy = answering is not None and (answering.more_body or not answering.response_complete)
        return not (busy or self._reader.in_headers or self.waiting or self._reader.has_more)

    def sweep(self, now_s: float) -> None:
        """Ends this connection if its peer has paused too long. `now_s` is the loop's time."""
        pace, answering = self._pace, self._answering
        if pace.is_reading_too_slowly(self.transport, self.flow, now_s):
            self.transport.abort()
        elif self.is_lingering or self.transport.is_closing():
            if pace.is_lingering_too_long(self.transport, now_s):
                self.transport.abort()
        elif self._reader.in_headers:
            if pace.headers_take_too_long(now_s):
                self.refuse(HeadersTooSlow())
        elif answering is None:
            if pace.is_silent_too_long(now_s):
                self.transport.close()
        elif answering.more_body:
            if pace.is_sending_too_slowly(self.flow, now_s):
                self._end_body_early(answering)
        elif answering.response_complete and not self.waiting and pace.is_idle_too_long(now_s):
            self.transport.close()

    def _end_body_early(self, exchange: Exchange) -> None:
        if exchange.response_complete:  # the rest of what was refused already
            self.linger()
        else:
            self.refuse(BodyTooSlow())

    def shutdown(self) -> None:
        """Ends an idle connection; a busy one closes after its answer, since the state says draining."""
        if self.is_idle and not self.transport.is_closing():
            self.transport.close()

    def give_up(self) -> None:
        """The time for leaving is over: whoever still waits is told so."""
        if self.is_idle:
            self.transport.abort()
        else:
            self.refuse(Leaving())


def _log_access(exchange: Exchange) -> None:
    head = exchange.head
    path = head.raw_path.decode("ascii", "backslashreplace")
    took_ms = (now_ns() - exchange.arrived_ns) / NS_PER_MS
    log_access(head.method, path, exchange.status, exchange.request_id, head.address, took_ms)
