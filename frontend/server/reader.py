"""The bytes of one connection -> the requests in them: `httptools` reads, and what it must be kept from is here.

httptools bounds nothing, and it cannot be stopped. So it is fed slice by slice: a head, then its body, then the next
head, up to the depth that pipelining may have; what takes longer than a turn may last is gone on with after the other
connections have had theirs.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import httptools

from engine.clock import now_ns
from frontend.server.connection_flow import ConnectionFlow, Pause
from frontend.server.connection_pace import ConnectionPace
from frontend.server.exchange import Exchange
from frontend.server.head import HeadersTooLarge, HeadError, RequestHead
from frontend.server.peer import HttpPeer
from frontend.server.refusals import TransportRefusal, UpgradeRefused
from frontend.server.slices import Slices
from frontend.server.transport_state import TransportState

_TURN_NS = 4_000_000  # that one connection may parse before the others get their turn
_QUICK_SLICES = 4  # of one turn that are not timed
_COPIED_BYTES = 4096  # up to here a copy is cheaper than a view


class ReadConnection(Protocol):
    """The connection that is read."""

    flow: ConnectionFlow
    is_lingering: bool
    waiting: deque[Exchange]  # pipelined requests behind the one that is being answered

    @property
    def is_leaving(self) -> bool:
        """Whether all is said on this connection."""

    @property
    def is_full(self) -> bool:
        """Whether as many pipelined requests wait as may."""

    def head_complete(self, head: RequestHead, *, keep_alive: bool) -> Exchange:
        """A request begins; the exchange that its body goes to."""

    def refuse(self, error: TransportRefusal) -> None:
        """Answers the request that has come last, or is being answered, in the application's place."""

    def refuse_parsed(self, error: TransportRefusal) -> None:
        """What has come is no request that could be answered."""

    def move_on(self) -> None:
        """What was read may be what somebody waits for. Never called inside a callback of the parser."""


class RequestReader:
    """Of one connection. `is_deaf`: what was parsed last was the last request, or no HTTP; what comes is counted."""

    __slots__ = (
        *("_connection", "_head", "_pace", "_parser", "_peer", "_receiving", "_slices", "_state", "_trailer_fields"),
        *("_unparsed", "discarded_bytes", "in_headers", "is_deaf"),
    )

    def __init__(self, connection: ReadConnection, peer: HttpPeer, pace: ConnectionPace, state: TransportState) -> None:
        self._connection = connection
        self._peer = peer
        self._pace = pace
        self._state = state
        self._parser: Any = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # it is thrown away here, see `is_deaf`
        self._slices = Slices(state.limits)
        self._unparsed = b""
        self._head = RequestHead(peer)
        self._trailer_fields = 0
        self._receiving: Exchange | None = None  # the exchange whose body is being parsed, or was last
        self.in_headers = False
        self.is_deaf = False
        self.discarded_bytes = 0

    @property
    def has_more(self) -> bool:
        """Whether something has come that is not parsed yet."""
        return bool(self._unparsed)

    def close(self) -> None:
        """The connection is gone, or nothing of it is of interest any more."""
        self._parser = self._receiving = None  # the parser holds this reader's methods, and this reader holds it
        del self._connection  # which holds this reader
        self.forget()

    def forget(self) -> None:
        """What is not parsed yet will not be."""
        self._unparsed = b""

    def receive(self, data: bytes) -> None:
        """More has come. As much of it as may be is parsed now; the rest is kept, and reading waits for it."""
        if self._unparsed:  # its turn will come
            self._unparsed += data
            return
        connection, slices = self._connection, self._slices
        position, size_bytes, count, began_ns = 0, len(data), 0, 0
        try:
            while position < size_bytes and not (self.is_deaf or connection.is_lingering):
                if connection.waiting and connection.is_full:
                    self._keep(data[position:], Pause.PIPELINE)
                    break
                if count >= _QUICK_SLICES:
                    began_ns = began_ns or now_ns()
                    if now_ns() - began_ns > _TURN_NS:
                        self._keep(data[position:], Pause.PARSING)
                        self._state.loop.call_soon(self.read_on)
                        break
                start, receiving = position, self._receiving
                position = slices.next_end(data, start, 0 if receiving is None else receiving.received_bytes)
                count += 1
                if position < 0:
                    position = size_bytes
                    connection.refuse_parsed(HeadersTooLarge())
                elif position - start <= _COPIED_BYTES:
                    self._parser.feed_data(data[start:position])
                else:
                    self._parser.feed_data(memoryview(data)[start:position])
        except httptools.HttpParserUpgrade:
            self._decline_upgrade()
        except httptools.HttpParserError as error:
            cause = error.__context__
            connection.refuse_parsed(cause if isinstance(cause, HeadError) else HeadError())
        if self.is_deaf:
            self.discarded_bytes += size_bytes - position
        connection.move_on()

    def read_on(self) -> None:
        """Parses what was kept, if anything was."""
        data, self._unparsed = self._unparsed, b""
        connection = self._connection
        connection.flow.resume_reading(Pause.PIPELINE | Pause.PARSING)
        if data and not connection.is_leaving:
            self.receive(data)

    def head_so_far(self) -> tuple[RequestHead, str]:
        """What has come of a head that is not complete, and its method where that is known."""
        if not self.in_headers:
            return RequestHead(self._peer), ""
        return self._head, self._parser.get_method().decode("ascii") if self._head.url else ""

    def _keep(self, data: bytes, reason: Pause) -> None:
        self._unparsed = data
        self._connection.flow.pause_reading(reason)

    def _decline_upgrade(self) -> None:
        # The parser stops here: bytes that follow are another protocol's, or a body it would not parse.
        receiving = self._receiving
        assert receiving is not None
        receiving.keep_alive = False
        self.go_deaf()
        if receiving.declared_bytes or receiving.head.coding:
            self._connection.refuse(UpgradeRefused())

    def go_deaf(self) -> None:
        """What comes from here on is no request of this connection; it closes after the answers that are due."""
        self.is_deaf = True
        self.discarded_bytes += 1

    # --- parser callbacks -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._head = RequestHead(self._peer)
        self.in_headers = True
        self._pace.head_begins(self._state.loop.time())

    def on_url(self, url: bytes) -> None:
        self._head.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_headers:
            self._head.fields.append((name.lower(), value))
        else:  # a trailer: no application of ours asks for one, and none may take it for a header that a proxy has set
            self._trailer_fields += 1
            if self._trailer_fields > self._state.limits.header_fields:
                raise HeadersTooLarge()

    def on_headers_complete(self) -> None:
        self._trailer_fields = 0
        connection = self._connection
        if connection.is_lingering:
            return
        head, parser = self._head, self._parser
        version = parser.get_http_version()
        head.complete(parser.get_method(), version, self._state.limits)
        self.in_headers = False
        keep_alive = version != "1.0" and parser.should_keep_alive()
        self._receiving = connection.head_complete(head, keep_alive=keep_alive)
        self._slices.begin_body(head.declared_bytes)

    def on_body(self, body: bytes) -> None:
        if self._receiving is not None and not self._connection.is_lingering:
            self._receiving.add_body(body)

    def on_message_complete(self) -> None:
        self._slices.end_body()
        receiving = self._receiving
        if receiving is not None and not self._connection.is_lingering:
            receiving.end_body()
            if not receiving.keep_alive:
                self.is_deaf = True
