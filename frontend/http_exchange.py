"""One request and its response on one connection: what an ASGI application sees, and a shorter way for our own routes.

Invariants: `response_complete` goes from False to True once; nothing is written after it. Nothing is on the wire before
the first part of the body is known, so an application that fails in between still gets a clean 500. Whoever waits in
`receive`, and what `collect` was given, is woken by every change of `more_body`, `disconnected`, `response_complete`.

Everything here runs on the event loop; only `disconnected` may be read from another thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from engine.errors import InternalError
from frontend.http_wire import CHUNKED, CLOSE, CONTINUE, LAST_CHUNK, chunk, head, refusal, text_head
from frontend.transport_limits import TransportLimits

EXTENSION = "nightscan.exchange"  # in `scope["extensions"]`: the `Exchange` itself
HIGH_WATER_BYTES = 64 * 1024  # of body that an application has not fetched: reading pauses
_JOIN_BYTES = 64 * 1024  # below this one copy is cheaper than a second write

Message = Any  # an ASGI event: a dictionary whose keys follow from its "type"
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Receive, Send], Awaitable[None]]

_LOG = logging.getLogger("uvicorn.error")


class Framing(Enum):
    """How the end of the response's body is told."""

    NONE = "none"  # there is no body: HEAD, 204, 304
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class ExchangeKeeper(Protocol):
    """The connection that an exchange happens on, which makes it and hears of its end."""

    limits: TransportLimits
    transport: Any  # asyncio.Transport, with what uvicorn adds
    flow: Any  # uvicorn's FlowControl
    loop: asyncio.AbstractEventLoop

    @property
    def state(self) -> Any:
        """What all connections share: `draining`, `date_line`."""

    def response_completed(self, exchange: Exchange, status: int) -> None:
        """The response is written."""

    def linger(self) -> None:
        """Ends the connection once its peer has seen what was written."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in a task that a server which leaves waits for."""


@runtime_checkable
class Lane(Protocol):
    """An application that answers some requests by itself, with no task and no ASGI call for each."""

    def take(self, exchange: Exchange) -> bool:
        """Whether the lane answers `exchange`, now or later. False: it is to be run as any ASGI application."""


class Exchange:
    """Made when a request's headers are complete; done when its response is."""

    __slots__ = (
        *("_body_handed_over", "_chunks", "_collector", "_fields", "_framing", "_left_bytes", "_limit_bytes"),
        *("_protocol", "_status", "_waiter", "buffered_bytes", "declared_bytes", "disconnected", "expects_continue"),
        *("keep_alive", "more_body", "on_gone", "response_complete", "response_started", "scope", "too_large"),
    )

    def __init__(
        self, protocol: ExchangeKeeper, scope: dict[str, Any], *, keep_alive: bool, declared_bytes: int | None
    ) -> None:
        self._protocol = protocol
        self.scope = scope
        self.keep_alive = keep_alive
        self.declared_bytes = declared_bytes  # by Content-Length; None: not declared
        self.expects_continue = False
        self.more_body = True
        self.buffered_bytes = 0  # while collecting beyond the limit: bytes thrown away
        self.too_large = False
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.on_gone: Callable[[], None] | None = None  # called once, when nobody waits for the answer any more
        self._chunks: list[bytes] = []
        self._body_handed_over = False
        self._limit_bytes: int | None = None  # while collecting; None: hand over piece by piece
        self._collector: Callable[[bytes | None], None] | None = None  # gets the whole body, once it is there
        self._waiter: asyncio.Future[None] | None = None
        self._status = 0
        self._fields: Iterable[tuple[bytes, bytes]] = ()
        self._framing = Framing.NONE
        self._left_bytes = 0

    # --- from the protocol ------------------------------------------------------------------------------------------

    async def run(self, app: AsgiApp) -> None:
        """Runs the application; whatever it does wrong ends in a complete 500 or a closed connection."""
        self.scope["extensions"][EXTENSION] = self  # only here: the circle would be work for the garbage collector
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:  # the application is somebody else's code
            self.fail("Exception in ASGI application", error)
        else:
            if not self.response_complete and not self.disconnected:
                self.fail("ASGI callable returned without completing its response.")

    def fail(self, text: str, error: BaseException | None = None) -> None:
        """Logs what went wrong in the application; its client gets a complete 500 or a closed connection."""
        _LOG.error(text, exc_info=error)
        if not self.disconnected and not self.response_complete:
            self.replace(refusal(500, "Internal server error", InternalError.code))

    def add_body(self, data: bytes) -> None:
        """More of the request's body has come. Wakes nobody."""
        self.buffered_bytes += len(data)
        limit_bytes = self._limit_bytes
        if self.response_complete or self.too_large:
            self._discard()
        elif limit_bytes is None:
            self._chunks.append(data)
            if self.buffered_bytes > HIGH_WATER_BYTES:
                self._protocol.flow.pause_reading()
        elif self.buffered_bytes > limit_bytes:
            self._chunks.clear()
            self.too_large = True
        else:
            self._chunks.append(data)

    def end_body(self) -> None:
        """The request's body is complete. Wakes nobody."""
        self.more_body = False

    def wake(self) -> None:
        """What has come may be what somebody waits for; to be called after `add_body` and `end_body`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._collector is not None:
            self._hand_over()

    def abandon(self) -> None:
        """Nobody waits for the answer any more: the client is gone, or was given another one."""
        if self.disconnected:
            return
        self.disconnected = True
        self.wake()
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()

    def replace(self, response: bytes) -> None:
        """Answers in the application's place, unless its own answer has begun; then the connection is cut."""
        if self.response_complete:
            return
        if self.response_started:
            self._protocol.transport.abort()
            return
        self.keep_alive = False
        self.response_started = True
        if self.scope["method"] == "HEAD":
            response = b"".join(response.partition(b"\r\n\r\n")[:2])
        self._protocol.transport.write(response)
        self._complete()
        self.abandon()

    @property
    def connection(self) -> Any:
        """The client's socket, or what the event loop gives in its place; None when there is none."""
        return self._protocol.transport.get_extra_info("socket")

    # --- the short way ----------------------------------------------------------------------------------------------

    def collect(self, limit_bytes: int, collector: Callable[[bytes | None], None]) -> None:
        """Calls `collector` with the whole body in one piece, or None for one over `limit_bytes` (the rest is drained).

        At once if it is there already; never when the client hangs up first.
        """
        self._limit_bytes, self._collector = limit_bytes, collector
        declared_bytes = self.declared_bytes
        if self.buffered_bytes > limit_bytes or (declared_bytes is not None and declared_bytes > limit_bytes):
            self._chunks.clear()
            self.too_large = True
        if not (self.too_large and self.expects_continue):
            self._continue()
            self._protocol.flow.resume_reading()
        self.wake()

    def attempt(self, step: Callable[..., None], *arguments: object) -> None:
        """Does a step towards the answer; whatever it raises ends in a complete 500 or a closed connection."""
        try:
            step(*arguments)
        except Exception as error:  # a bug of ours must cost one answer, not the connections of everybody else
            self.fail("Exception on the fast lane", error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Does the same with steps that wait, in a task."""
        self._protocol.spawn(self._guarded(work))

    def respond(self, status: int, fields: Iterable[tuple[str, str]], body: bytes) -> None:
        """The whole response in one write. Raises InternalError for headers that are none."""
        if self.disconnected or self.response_complete:
            return
        length = b"content-length: %d\r\n" % len(body)
        made = text_head(status, fields, self._protocol.state.date_line, length, self._connection_line())
        self.response_started = True
        if self.scope["method"] != "HEAD":
            made += body
        self._protocol.transport.write(made)
        self._status = status
        self._complete()

    # --- ASGI -------------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """ASGI receive: pieces of the body, then `http.disconnect` once the client is gone or answered."""
        self._continue()
        while not self.disconnected and not self.response_complete:
            if self._chunks or not (self.more_body or self._body_handed_over):
                return self._take()
            self._protocol.flow.resume_reading()
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI send. Waits while the client reads slowly; what nobody can receive any more is dropped."""
        flow = self._protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected or self.response_complete:
            return
        if message["type"] == "http.response.start":
            if self._status:
                raise InternalError("http.response.start was sent twice")
            self._status, self._fields = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise InternalError(f"unexpected ASGI message {message['type']}")

    # --- inside -----------------------------------------------------------------------------------------------------

    def _send_body(self, body: bytes, more: bool) -> None:
        if not self._status:
            raise InternalError("http.response.body was sent before http.response.start")
        begin = b"" if self.response_started else self._begin(body, more)
        framed = self._framed(body, more)
        self.response_started = True
        transport = self._protocol.transport
        if len(framed) < _JOIN_BYTES:
            begin, framed = begin + framed, b""
        if begin:
            transport.write(begin)
        if framed:
            transport.write(framed)
        if not more:
            self._complete()

    def _begin(self, body: bytes, more: bool) -> bytes:
        fields = {name.lower(): value for name, value in self._fields}
        extra = b""
        if self.scope["method"] == "HEAD" or self._status in (204, 304):
            self._framing = Framing.NONE
        elif b"content-length" in fields:
            self._framing, self._left_bytes = Framing.LENGTH, int(fields[b"content-length"])
        elif not more:
            self._framing, self._left_bytes = Framing.LENGTH, len(body)
            extra = b"content-length: %d\r\n" % len(body)
        elif self.scope["http_version"] == "1.0":
            self._framing, self.keep_alive = Framing.CLOSE, False
        else:
            self._framing = Framing.CHUNKED
            extra = b"" if b"transfer-encoding" in fields else CHUNKED
        if b"close" in fields.get(b"connection", b"").lower():
            self.keep_alive = False
            connection = b""
        else:
            connection = self._connection_line()
        return head(self._status, self._fields, self._protocol.state.date_line, extra, connection)

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._framing is Framing.NONE:
            return b""
        if self._framing is Framing.CHUNKED:
            return chunk(body) if more else chunk(body) + LAST_CHUNK
        if self._framing is Framing.LENGTH:
            self._left_bytes -= len(body)
            if self._left_bytes < 0 or (self._left_bytes > 0 and not more):
                raise InternalError("a response body does not have its announced length")
        return body

    def _connection_line(self) -> bytes:
        # A client that was not told to go on keeps its body back: where its next request begins would be unknown.
        if self._protocol.state.draining or (self.expects_continue and self.more_body):
            self.keep_alive = False
        return b"" if self.keep_alive else CLOSE

    def _complete(self) -> None:
        self.response_complete = True
        self._chunks.clear()
        self.buffered_bytes = 0
        self.on_gone = None
        self.wake()
        self._protocol.response_completed(self, self._status)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # as in `attempt`
            self.fail("Exception on the fast lane", error)

    def _take(self) -> Message:
        chunks, self._chunks = self._chunks, []
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.buffered_bytes = 0
        self._body_handed_over = not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def _continue(self) -> None:
        if self.expects_continue and not self._protocol.transport.is_closing():
            self.expects_continue = False
            self._protocol.transport.write(CONTINUE)

    def _discard(self) -> None:
        if self.buffered_bytes <= self._protocol.limits.discard_bytes:
            return
        self.keep_alive = False
        if self.response_complete:
            self._protocol.linger()

    def _collected(self) -> bool:
        if not self.too_large:
            return not self.more_body
        # A client that waits to be told to go on is told no; from others some is read, so that they see the answer.
        return not self.more_body or self.expects_continue or self.buffered_bytes > self._protocol.limits.discard_bytes

    async def _wait(self) -> None:
        self._waiter = self._protocol.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _hand_over(self) -> None:
        collector = self._collector
        if self.disconnected or self.response_complete:
            self._collector = None
        elif collector is not None and self._collected():
            self._collector = None
            chunks, self._chunks = self._chunks, []
            body = None if self.too_large else chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self.attempt(collector, body)


def exchange_of(scope: Any) -> Exchange | None:
    """The exchange behind an ASGI scope; None under any other server."""
    found = scope.get("extensions", {}).get(EXTENSION)
    return found if isinstance(found, Exchange) else None
