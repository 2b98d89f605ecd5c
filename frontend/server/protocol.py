"""HTTP/1.1 on one connection: `httptools` reads, `Exchange` answers, and what lies between is here.

httptools bounds nothing, and it cannot be stopped. So it is fed slice by slice: a head, then its body, then the next
head, up to the depth that pipelining may have; what takes longer than a turn may last is gone on with after the other
connections have had theirs. `sweep`, called by the server about twice a second, ends connections that pause too long:
one clock for all instead of a timer for each request.

A connection that must not serve another request *lingers*: what the peer still sends is read and thrown away for a
moment. Closing with unread bytes would reset the connection, and the peer would never see its answer.

Nothing here outlives the connection: when it is lost, every way back to it is taken away, so that a body that nobody
will read goes at once and not with the next run of the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

import httptools

from engine.clock import now_ns
from frontend.server.connection_flow import ConnectionFlow, Pause
from frontend.server.connection_pace import ConnectionPace
from frontend.server.exchange import Exchange, Lane
from frontend.server.head import NOTES, HeadersTooLarge, HeadError, RequestHead
from frontend.server.message import HttpResponse
from frontend.server.refusals import (
    BodyTooSlow,
    HeadersTooSlow,
    Leaving,
    TransportRefusal,
    UpgradeRefused,
    last_answer,
)
from frontend.server.scope import Peer, path_of, scope_of
from frontend.server.server_log import ACCESS_LOG
from frontend.server.slices import Slices
from frontend.server.transport_state import TransportState
from frontend.server.wire import refusal

_TURN_NS = 4_000_000  # that one connection may parse before the others get their turn
_QUICK_SLICES = 4  # of one turn that are not timed
_COPIED_BYTES = 4096  # up to here a copy is cheaper than a view

_TOO_MANY_CONNECTIONS = refusal(503, "Too many connections", "TOO_MANY_CONNECTIONS", retry_after_s=1)


class NightScanProtocol(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        *("_answering", "_deaf", "_discarded_bytes", "_head", "_in_headers", "_lane", "_lingering", "_pace", "_parser"),
        *("_peer", "_receiving", "_slices", "_started", "_trailer_fields", "_unparsed", "_waiting", "flow", "state"),
        "transport",
    )

    transport: asyncio.Transport
    flow: ConnectionFlow

    def __init__(self, state: TransportState) -> None:
        self.state = state
        self._parser: Any = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # it is thrown away here, see `_deaf`
        app: object = state.app
        self._lane = app if isinstance(app, Lane) else None
        self._slices = Slices(state.limits)
        self._pace = ConnectionPace(state.limits, state.loop.time())
        self._peer = Peer()
        self._unparsed = b""
        self._head = RequestHead()
        self._in_headers = False
        self._trailer_fields = 0
        self._answering: Exchange | None = None  # the oldest exchange without a complete response, else the last one
        self._started: Exchange | None = None  # the last one that the application or its lane got
        self._receiving: Exchange | None = None  # the exchange whose body is being parsed, or was last
        self._waiting: deque[Exchange] = deque()  # pipelined requests behind `_answering`
        self._deaf = False  # what was parsed last was the last request, or no HTTP: read on, but into nothing
        self._lingering = False
        self._discarded_bytes = 0

    # --- connection -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self.flow = ConnectionFlow(transport)
        self._peer = Peer.of(transport, self.state.trusted_proxies)
        self.state.connections.add(self)
        if len(self.state.connections) > self.state.limits.max_connections:
            transport.write(_TOO_MANY_CONNECTIONS)
            self.linger()

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)
        self._lingering = True
        self.flow.resume_writing()
        unanswered = [self._answering, *self._waiting]
        self._waiting.clear()
        self._answering = self._started = self._receiving = None
        self._parser = None  # it holds this connection's methods, and this connection holds it
        self._unparsed = b""
        for exchange in unanswered:
            if exchange is not None and not exchange.response_complete:
                exchange.abandon()

    def pause_writing(self) -> None:
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        if self._waiting:
            self.state.loop.call_soon(self._start_next)

    def linger(self) -> None:
        """Ends this connection once its peer has seen what was written: half-closes, then reads into nothing."""
        if self._lingering or self.transport.is_closing():
            return
        self._lingering, self._discarded_bytes, self._unparsed = True, 0, b""
        self._pace.moved(self.state.loop.time())
        self.flow.read_on()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def refuse(self, error: TransportRefusal) -> None:
        """Answers a request that no application will see; the last answer of this connection."""
        if self._lingering or self.transport.is_closing():
            return
        exchange = self._answering
        if exchange is None or exchange.response_complete:
            self.transport.write(last_answer(self._words_for(error)))
        else:
            exchange.refuse(error)
        self.linger()

    def _words_for(self, error: TransportRefusal) -> HttpResponse:
        """Of a request whose head is not complete, or not accepted."""
        head = self._head if self._in_headers else RequestHead()
        path = path_of(head)
        method = self._parser.get_method().decode("ascii") if path else ""
        return self.state.wording.words_for(error, method, path, head.fields)

    # --- bytes ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._pace.received_bytes += len(data)
        if self._lingering or self._deaf:
            self._discard(len(data))
        elif self._unparsed:  # its turn will come
            self._unparsed += data
        else:
            self._parse(data)

    def _discard(self, size_bytes: int) -> None:
        self._discarded_bytes += size_bytes
        if self._discarded_bytes > self.state.limits.discard_bytes:
            self.transport.abort()

    def _parse(self, data: bytes) -> None:
        """As much of `data` as may be parsed now; the rest is kept, and reading waits for it."""
        position, size_bytes, slices, began_ns = 0, len(data), 0, 0
        while position < size_bytes and not (self._deaf or self._lingering):
            if len(self._waiting) >= self.state.limits.max_pipelined:
                self._keep(data, position, Pause.PIPELINE)
                return
            if slices >= _QUICK_SLICES:
                began_ns = began_ns or now_ns()
                if now_ns() - began_ns > _TURN_NS:
                    self._keep(data, position, Pause.PARSING)
                    self.state.loop.call_soon(self._parse_on)
                    return
            end = self._slices.next_end(data, position)
            if end - position <= _COPIED_BYTES:
                self._feed(data[position:end])
            else:
                self._feed(memoryview(data)[position:end])
            position, slices = end, slices + 1
        if self._deaf:
            self._discarded_bytes += size_bytes - position
        self.move_on()

    def _keep(self, data: bytes, position: int, reason: Pause) -> None:
        self._unparsed = data[position:]
        self.flow.pause_reading(reason)
        self.move_on()

    def _parse_on(self) -> None:
        data, self._unparsed = self._unparsed, b""
        self.flow.resume_reading(Pause.PIPELINE | Pause.PARSING)
        if data and not self.is_leaving:
            self._parse(data)

    def _feed(self, piece: bytes | memoryview) -> None:
        receiving = self._receiving
        if not self._slices.allow(len(piece), 0 if receiving is None else receiving.received_bytes):
            self._refuse_parsed(HeadersTooLarge())
            return
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._decline_upgrade()
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse_parsed(cause if isinstance(cause, HeadError) else HeadError())

    def _refuse_parsed(self, error: TransportRefusal) -> None:
        answering = self._answering
        if answering is None or answering.response_complete or answering.more_body:
            self.refuse(error)
        else:  # nonsense behind a good request: that one still gets its answer, as the last one
            answering.keep_alive = False
            self._deaf = True
            self._discarded_bytes += 1
            self._waiting.clear()

    def _decline_upgrade(self) -> None:
        # The parser stops here: bytes that follow are another protocol's, or a body it would not parse.
        assert self._receiving is not None
        self._receiving.keep_alive = False
        self._deaf = True
        self._discarded_bytes += 1
        if self._receiving.declared_bytes or self._head.coding:
            self.refuse(UpgradeRefused())

    # --- parser callbacks -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head = RequestHead()
        self._in_headers = True
        self._pace.begin_headers(self.state.loop.time())

    def on_url(self, url: bytes) -> None:
        self._head.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:
            head, name = self._head, name.lower()
            head.fields.append((name, value))
            if name in NOTES:
                NOTES[name](head, value)
        else:  # a trailer: no application of ours asks for one, and none may take it for a header that a proxy has set
            self._trailer_fields += 1
            if self._trailer_fields > self.state.limits.header_fields:
                raise HeadersTooLarge()

    def on_headers_complete(self) -> None:
        self._trailer_fields = 0
        if self._lingering:
            return
        head, parser = self._head, self._parser
        version = parser.get_http_version()
        head.check(version, self.state.limits)
        exchange = Exchange(
            self,
            scope_of(head, parser.get_method(), version, self._peer, self.state),
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            declared_bytes=head.declared_bytes,
            expects_continue=head.expects_continue,
        )
        self._in_headers = False
        self._receiving = exchange
        self._slices.begin_body(head.declared_bytes)
        if not self._waiting and (self._answering is None or self._answering.response_complete):
            self._answering = exchange
        else:  # a pipelined request: one at a time
            self._waiting.append(exchange)

    def on_body(self, body: bytes) -> None:
        if not self._lingering and self._receiving is not None:
            self._receiving.add_body(body)

    def on_message_complete(self) -> None:
        self._slices.end_body()
        if not self._lingering and self._receiving is not None:
            self._receiving.end_body()
            if not self._receiving.keep_alive:
                self._deaf = True

    # --- exchanges --------------------------------------------------------------------------------------------------

    def move_on(self) -> None:
        """Starts or wakes what is being answered: never inside a callback of the parser, which is not done yet then."""
        exchange = self._answering
        if exchange is None or exchange.response_complete:
            return
        if self._started is exchange:
            exchange.wake()
        else:
            self._started = exchange
            exchange.attempt(self._start, exchange)

    def _start(self, exchange: Exchange) -> None:
        if self._lane is None or not self._lane.take(exchange):
            self.state.spawn(exchange.run(self.state.app))

    def _start_next(self) -> None:
        # A client that does not read its answers gets no more of them: they would only pile up in memory.
        if self.is_leaving or self.flow.write_paused:
            return
        if self._waiting and (self._answering is None or self._answering.response_complete):
            self._answering = self._waiting.popleft()
            self.move_on()
        if self._unparsed:
            self._parse_on()

    def response_completed(self, exchange: Exchange, status: int) -> None:
        """Called by the exchange when its response is written: what happens to the connection now."""
        self.state.total_requests += 1
        self._pace.moved(self.state.loop.time())
        if ACCESS_LOG.handlers:
            _log_access(exchange, status)
        if self.transport.is_closing() or self._lingering:
            return
        if not exchange.keep_alive:
            if exchange.more_body or self._discarded_bytes:
                self.linger()
            else:
                self.transport.close()
            return
        self.flow.resume_reading(Pause.UNFETCHED)
        if self._waiting or self._unparsed:
            # Not here: a thousand pipelined requests that are each refused at once would be a thousand calls deep.
            self.state.loop.call_soon(self._start_next)

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def is_leaving(self) -> bool:
        """Whether all is said on this connection."""
        return self._lingering or self.transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether nothing was begun on this connection that somebody waits for."""
        answering = self._answering
        busy = answering is not None and (answering.more_body or not answering.response_complete)
        return not (busy or self._in_headers or self._waiting or self._unparsed)

    def sweep(self, now_s: float) -> None:
        """Ends this connection if its peer has paused too long. `now_s` is the loop's time."""
        pace, answering = self._pace, self._answering
        if pace.is_reading_too_slowly(self.transport, self.flow, now_s):
            self.transport.abort()
        elif self._lingering or self.transport.is_closing():
            if pace.is_lingering_too_long(self.transport, now_s):
                self.transport.abort()
        elif self._in_headers:
            if pace.headers_take_too_long(now_s):
                self.refuse(HeadersTooSlow())
        elif answering is None:
            if pace.is_silent_too_long(now_s):
                self.transport.close()
        elif answering.more_body:
            if pace.is_sending_too_slowly(self.flow, now_s):
                self._end_body_early(answering)
        elif answering.response_complete and not self._waiting and pace.is_idle_too_long(now_s):
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


def _log_access(exchange: Exchange, status: int) -> None:
    scope = exchange.scope
    client = scope["client"] or ("-", 0)
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    target = (scope["raw_path"] + query).decode("ascii", "backslashreplace")
    ACCESS_LOG.info('%s:%d - "%s %s HTTP/%s" %d', *client, scope["method"], target, scope["http_version"], status)
