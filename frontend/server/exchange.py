"""One request and its response on one connection: what an ASGI application sees, and a shorter way for our own routes.

Invariants: `response_complete` goes from False to True once; nothing is written after it. Nothing is on the wire before
the first part of the body is known, so an application that fails in between still gets a clean 500. Whoever waits in
`receive`, and what `collect` was given, is woken by every change of `more_body`, `disconnected`, `response_complete`.
Every byte of the body that is held is counted in `InflightBodies`, once, until it is let go.

Everything here runs on the event loop; only `disconnected` may be read from another thread.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, runtime_checkable

from engine.clock import now_ns
from engine.errors import InternalError
from frontend.server.body import LONG_BYTES, Body, BodyBuffer, LongBody
from frontend.server.connection_flow import ConnectionFlow, Pause
from frontend.server.decoding_room import LoopRoom
from frontend.server.framing import Framing, framing_of
from frontend.server.message import HttpResponse
from frontend.server.refusals import TooManyUploads, TransportRefusal, last_answer
from frontend.server.server_log import SERVER_LOG
from frontend.server.transport_state import AsgiApp, Message, TransportState
from frontend.server.wire import CLOSE, CONTINUE, head, refusal, text_head

EXTENSION = "nightscan.exchange"  # in `scope["extensions"]`: the `Exchange` itself
HIGH_WATER_BYTES = 64 * 1024  # of body that an application has not fetched: reading pauses
_JOIN_BYTES = 64 * 1024  # below this one copy is cheaper than a second write

Collector = Callable[[Body | None], None]

_INTERNAL = refusal(500, "Internal server error", InternalError.code)


class ExchangeKeeper(Protocol):
    """The connection that an exchange happens on, which makes it and hears of its end."""

    transport: asyncio.Transport
    flow: ConnectionFlow
    state: TransportState

    def response_completed(self, exchange: Exchange, status: int) -> None:
        """The response is written."""

    def linger(self) -> None:
        """Ends the connection once its peer has seen what was written."""

    def move_on(self) -> None:
        """Starts or wakes what is being answered."""


@runtime_checkable
class Lane(Protocol):
    """An application that answers some requests by itself, with no task and no ASGI call for each."""

    def take(self, exchange: Exchange) -> bool:
        """Whether the lane answers `exchange`, now or later. False: it is to be run as any ASGI application."""


class Exchange:
    """Made when a request's headers are complete; done when its response is."""

    __slots__ = (
        *("_body", "_body_handed_over", "_collector", "_fields", "_framing", "_held_bytes", "_limit_bytes"),
        *("_no_room", "_pressed", "_protocol", "_status", "_waiter", "arrived_ns", "completed_ns", "declared_bytes"),
        *("disconnected", "expects_continue", "keep_alive", "more_body", "on_gone", "received_bytes"),
        *("response_complete", "response_started", "scope", "too_large"),
    )

    def __init__(
        self,
        protocol: ExchangeKeeper,
        scope: dict[str, Any],
        *,
        keep_alive: bool,
        declared_bytes: int | None,
        expects_continue: bool = False,
    ) -> None:
        self._protocol = protocol
        self.scope = scope
        self.keep_alive = keep_alive
        self.declared_bytes = declared_bytes  # by Content-Length; None: not declared
        self.expects_continue = expects_continue
        self.arrived_ns = now_ns()  # when the headers were complete
        self.completed_ns = 0  # when the body was; 0: not yet
        self.more_body = True
        self.received_bytes = 0  # of the body, also what was thrown away
        self.too_large = False
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.on_gone: Callable[[], object] | None = None  # called once, when nobody waits for the answer any more
        self._body = BodyBuffer()
        self._held_bytes = 0  # counted in `inflight`, and to be freed by this exchange
        self._pressed = False  # `inflight` knows this exchange
        self._no_room = False
        self._body_handed_over = False
        self._limit_bytes: int | None = None  # while collecting; None: hand over piece by piece
        self._collector: Collector | None = None  # gets the whole body, once it is there
        self._waiter: asyncio.Future[None] | None = None
        self._status = 0
        self._fields: Iterable[tuple[bytes, bytes]] = ()
        self._framing: Framing | None = None

    # --- from the protocol ------------------------------------------------------------------------------------------

    async def run(self, app: AsgiApp) -> None:
        """Runs the application; whatever it does wrong ends in a complete 500 or a closed connection."""
        self.scope["extensions"][EXTENSION] = self
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:  # the application is somebody else's code
            self.fail("Exception in ASGI application", error)
        else:
            if not self.response_complete and not self.disconnected:
                self.fail("ASGI callable returned without completing its response.")
        finally:
            del self.scope["extensions"][EXTENSION]  # or else a circle, which only the garbage collector would undo

    def fail(self, text: str, error: BaseException | None = None) -> None:
        """Logs what went wrong in the application; its client gets a complete 500 or a closed connection."""
        SERVER_LOG.error(text, exc_info=error)
        if not self.disconnected and not self.response_complete:
            self.replace(_INTERNAL)

    def add_body(self, data: bytes) -> None:
        """More of the request's body has come. Wakes nobody."""
        size_bytes = len(data)
        self.received_bytes += size_bytes
        limit_bytes = self._limit_bytes
        if self.response_complete or self.too_large or self._no_room:
            self._discard()
        elif limit_bytes is not None and self.received_bytes > limit_bytes:
            self._drop_body()
            self.too_large = True
        else:
            self._body.add(data)
            self._held_bytes += size_bytes
            inflight = self._protocol.state.inflight
            inflight.used_bytes += size_bytes
            if inflight.used_bytes > inflight.soft_bytes:
                self._pressed = True
                inflight.press(self, self._protocol.state.loop.time())
            if limit_bytes is None and self._body.size_bytes > HIGH_WATER_BYTES:
                self._protocol.flow.pause_reading(Pause.UNFETCHED)

    def end_body(self) -> None:
        """The request's body is complete. Wakes nobody."""
        self.more_body = False
        self.completed_ns = now_ns()
        if self._pressed:
            self._leave_line()

    def wake(self) -> None:
        """What has come may be what somebody waits for; to be called after `add_body` and `end_body`."""
        if self._no_room and not self.response_complete and not self.disconnected:
            self._answer_no_room()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._collector is not None:
            self._hand_over()

    def abandon(self) -> None:
        """Nobody waits for the answer any more: the client is gone, or was given another one."""
        if self.disconnected:
            return
        self.disconnected = True
        self._drop_body()
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

    def refuse(self, error: TransportRefusal) -> None:
        """`replace` with the application's own words for `error`."""
        if not self.response_complete:
            self.replace(last_answer(self._words_for(error)))

    def _words_for(self, error: TransportRefusal) -> HttpResponse:
        scope = self.scope
        return self._protocol.state.wording.words_for(error, scope["method"], scope["path"], scope["headers"])

    @property
    def connection(self) -> Any:
        """The client's socket, or what the event loop gives in its place; None when there is none."""
        return self._protocol.transport.get_extra_info("socket")

    @property
    def room(self) -> LoopRoom:
        """Where decoding what this brought finds its memory."""
        return self._protocol.state.room

    # --- from those who count bodies --------------------------------------------------------------------------------

    @property
    def is_short(self) -> bool:
        """See `BodyHolder`. What is handed over piece by piece never holds much."""
        longest_bytes = self.received_bytes if self.declared_bytes is None else self.declared_bytes
        return self._limit_bytes is None or longest_bytes <= LONG_BYTES

    @property
    def held_bytes(self) -> int:
        """See `BodyHolder`."""
        return self._held_bytes

    @property
    def lacking_bytes(self) -> int:
        """See `BodyHolder`."""
        whole_bytes = self._limit_bytes if self.declared_bytes is None else self.declared_bytes
        return max(0, (whole_bytes or 0) - self.received_bytes) if self.more_body else 0

    def pause_for_memory(self) -> None:
        """See `BodyHolder`."""
        self._protocol.flow.pause_reading(Pause.MEMORY)

    def resume_from_memory(self) -> None:
        """See `BodyHolder`."""
        self._protocol.flow.resume_reading(Pause.MEMORY)

    def refuse_for_memory(self) -> None:
        """See `BodyHolder`. The rest of the body is read into nothing, so that its sender sees the answer."""
        self._no_room = True
        self._drop_body()
        # Not at once: this may be a callback of the parser, which is not done yet; and in its turn on its connection.
        self._protocol.state.loop.call_soon(self._protocol.move_on)

    # --- the short way ----------------------------------------------------------------------------------------------

    def collect(self, limit_bytes: int, collector: Collector) -> None:
        """Calls `collector` with the whole body in one piece, or None as soon as it is known to be over `limit_bytes`;
        then the rest is read into nothing.

        At once if it is there already; never when the client hangs up first.
        """
        self._limit_bytes, self._collector = limit_bytes, collector
        declared_bytes = self.declared_bytes
        if self.received_bytes > limit_bytes or (declared_bytes is not None and declared_bytes > limit_bytes):
            self._drop_body()
            self.too_large = True
        else:
            self._continue()
        self._protocol.flow.resume_reading(Pause.UNFETCHED)
        self.wake()

    def attempt(self, step: Callable[..., None], *arguments: object) -> None:
        """Does a step towards the answer; whatever it raises ends in a complete 500 or a closed connection."""
        try:
            step(*arguments)
        except Exception as error:  # a bug of ours must cost one answer, not the connections of everybody else
            self.fail("Exception on the fast lane", error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Does the same with steps that wait, in a task."""
        self._protocol.state.spawn(self._guarded(work))

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
        if self._no_room:
            self.wake()
        while not self.disconnected and not self.response_complete:
            if self._body.size_bytes or not (self.more_body or self._body_handed_over):
                return self._take()
            self._protocol.flow.resume_reading(Pause.UNFETCHED)
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI send. Waits while the client reads slowly; what nobody can receive any more is dropped."""
        flow = self._protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self._protocol.transport.is_closing():
            await asyncio.sleep(0)  # or an application that writes on and on would never let the loop tell it
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

    # --- inside: the response ---------------------------------------------------------------------------------------

    def _send_body(self, body: bytes, more: bool) -> None:
        if not self._status:
            raise InternalError("http.response.body was sent before http.response.start")
        begin = b"" if self._framing is not None else self._begin(body, more)
        assert self._framing is not None
        framed = self._framing.frame(body, more)
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
        framing = framing_of(
            fields,
            has_body=self.scope["method"] != "HEAD" and self._status not in (204, 304),
            only_bytes=None if more else len(body),
            http_1_0=self.scope["http_version"] == "1.0",
        )
        self.keep_alive = self.keep_alive and not framing.ends_by_closing
        if b"close" in fields.get(b"connection", b"").lower():
            self.keep_alive = False
            connection = b""
        else:
            connection = self._connection_line()
        made = head(self._status, self._fields, self._protocol.state.date_line, framing.line, connection)
        self._framing = framing
        return made

    def _connection_line(self) -> bytes:
        # A client that was not told to go on keeps its body back: where its next request begins would be unknown. And
        # a body that is longer than we read into nothing has no end that we will see.
        if self.more_body and (self.expects_continue or self._is_endless()):
            self.keep_alive = False
        if self._protocol.state.draining:
            self.keep_alive = False
        return b"" if self.keep_alive else CLOSE

    def _is_endless(self) -> bool:
        discard_bytes = self._protocol.state.limits.discard_bytes
        return self.declared_bytes is not None and self.declared_bytes - self.received_bytes > discard_bytes

    def _answer_no_room(self) -> None:
        if self.response_started:
            self._protocol.transport.abort()  # the application would take a part of the body for the whole
            return
        response = self._words_for(TooManyUploads())
        self.respond(response.status, response.headers, response.body)
        self.abandon()

    def _complete(self) -> None:
        self.response_complete = True
        self._drop_body()
        self.on_gone = None
        self.wake()
        self._protocol.response_completed(self, self._status)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # as in `attempt`
            self.fail("Exception on the fast lane", error)

    # --- inside: the body -------------------------------------------------------------------------------------------

    def _take(self) -> Message:
        body = self._body.take()
        self._free_held()
        self._body_handed_over = not self.more_body
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def _continue(self) -> None:
        if self.expects_continue and not self._protocol.transport.is_closing():
            self.expects_continue = False
            self._protocol.transport.write(CONTINUE)

    def _discard(self) -> None:
        if self.received_bytes <= self._protocol.state.limits.discard_bytes:
            return
        self.keep_alive = False
        if self.response_complete:
            self._protocol.linger()

    def _drop_body(self) -> None:
        if self._body.size_bytes:
            self._body.clear()
        if self._held_bytes:
            self._free_held()
        if self._pressed:
            self._leave_line()

    def _free_held(self) -> None:
        held_bytes, self._held_bytes = self._held_bytes, 0
        inflight = self._protocol.state.inflight
        inflight.used_bytes -= held_bytes
        if inflight.waiting:
            inflight.free(0, self._protocol.state.loop.time())

    def _leave_line(self) -> None:
        self._pressed = False
        self._protocol.state.inflight.leave(self, self._protocol.state.loop.time())

    async def _wait(self) -> None:
        self._waiter = self._protocol.state.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _hand_over(self) -> None:
        collector = self._collector
        if self.disconnected or self.response_complete:
            self._collector = None
        elif collector is not None and (self.too_large or not self.more_body):
            self._collector = None
            self.attempt(collector, None if self.too_large else self._whole_body())

    def _whole_body(self) -> Body:
        body = self._body.take()
        if isinstance(body, LongBody):  # it may outlive this exchange, in a thread that decodes it
            state = self._protocol.state
            gone = weakref.finalize(body, state.inflight.free_later, state.loop, self._held_bytes)
            gone.atexit = False
            self._held_bytes = 0
        return body


def exchange_of(scope: Any) -> Exchange | None:
    """The exchange behind an ASGI scope; None under any other server."""
    found = scope.get("extensions", {}).get(EXTENSION)
    return found if isinstance(found, Exchange) else None
