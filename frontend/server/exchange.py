"""One request and its response on one connection, and the short way to answer it: `collect` the body, then `respond`.

Invariants: `response_complete` goes from False to True once; nothing is written after it. Whoever collects or listens
is woken by every change of `more_body`, `disconnected`, `response_complete`.

Everything here runs on the event loop; only `disconnected` may be read from another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol, TypeVar, runtime_checkable

from engine.clock import now_ns
from engine.errors import InternalError
from frontend.server.body import Body
from frontend.server.body_intake import BodyIntake, ExchangeConnection
from frontend.server.connection_flow import Pause
from frontend.server.decoding_room import LoopRoom
from frontend.server.head import RequestHead
from frontend.server.message import HttpResponse
from frontend.server.refusals import RefusedRequest, TooManyUploads, TransportRefusal, last_answer
from frontend.server.server_log import SERVER_LOG, logs_access
from frontend.server.wire import CLOSE, refusal, text_head

REQUEST_ID = "X-Request-ID"
_STATUS_AT = slice(9, 12)  # of a response, behind "HTTP/1.1 "

Collector = Callable[[Body | None], object]
Result = TypeVar("Result")

_INTERNAL = refusal(500, "Internal server error", InternalError.code)


class ExchangeListener(Protocol):
    """Who answers an exchange piece by piece."""

    def wake(self) -> None:
        """Something has changed; called often, and perhaps for nothing."""


@runtime_checkable
class AnsweringApplication(Protocol):
    """An application that answers some requests by itself, with no task and no ASGI call for each."""

    def take(self, exchange: Exchange) -> bool:
        """Whether the lane answers `exchange`, now or later. False: it is to be run as any ASGI application."""


class Exchange(BodyIntake):
    """Made when a request's head is complete; done when its response is."""

    __slots__ = (
        *("_collector", "disconnected", "head", "listener", "on_gone", "request_id", "response_started", "status"),
    )

    def __init__(self, connection: ExchangeConnection, head: RequestHead, *, keep_alive: bool) -> None:
        super().__init__(connection, head, keep_alive=keep_alive)
        self.head = head
        self.disconnected = False
        self.response_started = False
        self.status = 0  # of the response; 0: not known yet
        self.request_id = ""  # as the response names it, where that is to be logged
        self.on_gone: Callable[[], object] | None = None  # called once, when nobody waits for the answer any more
        self.listener: ExchangeListener | None = None
        self._collector: Collector | None = None  # gets the whole body, once it is there

    # --- from the connection ----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """What has come may be what somebody waits for; to be called after `add_body` and `end_body`."""
        if self.has_no_room and not self.response_complete and not self.disconnected:
            self._answer_no_room()
        if self.listener is not None:
            self.listener.wake()
        elif self._collector is not None and (self.too_large or not self.more_body):
            self.attempt(self._hand_over)

    def abandon(self) -> None:
        """Nobody waits for the answer any more: the client is gone, or was given another one."""
        if self.disconnected:
            return
        self.disconnected = True
        self._collector = None
        self._drop_body()
        self.wake()
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()

    def refuse(self, error: TransportRefusal) -> None:
        """`replace` with the application's own words for `error`."""
        if not self.response_complete:
            self.replace(last_answer(self._words_for(error)))

    # --- the short way ----------------------------------------------------------------------------------------------

    def collect(self, limit_bytes: int, collector: Collector) -> None:
        """Calls `collector` with the whole body in one piece, or None as soon as it is known to be over `limit_bytes`;
        then the rest is read into nothing.

        At once if it is there already, and then what `collector` raises goes through; never when the client hangs up
        first.
        """
        self._limit_bytes, self._collector = limit_bytes, collector
        declared_bytes = self.declared_bytes
        if self.received_bytes > limit_bytes or (declared_bytes is not None and declared_bytes > limit_bytes):
            self._drop_body()
            self.too_large = True
        elif self.expects_continue:
            self.go_on()
        if self.more_body:
            self.connection.flow.resume_reading(Pause.UNFETCHED)
        if self.has_no_room:
            self.wake()
        elif self.too_large or not self.more_body:
            self._hand_over()

    def respond(self, status: int, fields: Collection[tuple[str, str]], body: bytes) -> None:
        """The whole response in one write. Raises InternalError for headers that are none."""
        if self.disconnected or self.response_complete:
            return
        length = b"content-length: %d\r\n" % len(body)
        made = text_head(status, fields, self.connection.state.date_line, length, self.connection_line())
        self.response_started = True
        if logs_access(status):
            self._note_id(fields)
        if self.head.method != "HEAD":
            made += body
        self.connection.transport.write(made)
        self.complete(status)

    def attempt(self, step: Callable[..., Result], *arguments: object) -> Result | None:
        """Does a step towards the answer; whatever it raises ends in a complete 500 or a closed connection, and None.

        A bug of ours must cost one answer, and not the connections of everybody else.
        """
        try:
            return step(*arguments)
        except Exception as error:  # the step may be the host's code: a guard, a response's headers
            self.fail("Exception on the fast lane", error)
            return None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """`attempt` with steps that wait, in a task."""
        self.connection.state.spawn(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        ended = await asyncio.gather(work, return_exceptions=True)
        if isinstance(ended[0], Exception):
            self.fail("Exception on the fast lane", ended[0])

    # --- the response -----------------------------------------------------------------------------------------------

    def connection_line(self) -> bytes:
        """What the head of the response has to say of the connection; decides whether it is kept."""
        # A client that was not told to go on keeps its body back: where its next request begins would be unknown. And
        # a body that is longer than we read into nothing has no end that we will see.
        if self.more_body and (self.expects_continue or self._is_endless()):
            self.keep_alive = False
        if self.connection.state.draining:
            self.keep_alive = False
        return b"" if self.keep_alive else CLOSE

    def complete(self, status: int) -> None:
        """The response is written, to its last byte."""
        self.status = status
        self.response_complete = True
        self.on_gone = None
        if self.held_bytes or self._pressed:
            self._drop_body()
        if self.listener is not None:
            self.listener.wake()
        self._collector = None
        self.connection.response_completed()

    def replace(self, response: bytes) -> None:
        """Answers in the application's place, unless its own answer has begun; then the connection is cut."""
        if self.response_complete:
            return
        if self.response_started:
            self.connection.transport.abort()
            return
        self.keep_alive = False
        self.response_started = True
        if self.head.method == "HEAD":
            response = b"".join(response.partition(b"\r\n\r\n")[:2])
        self.connection.transport.write(response)
        self.complete(int(response[_STATUS_AT]))
        self.abandon()

    def fail(self, text: str, error: BaseException | None = None) -> None:
        """Logs what went wrong in the application; its client gets a complete 500 or a closed connection."""
        SERVER_LOG.error(text, exc_info=error)
        if not (self.disconnected or self.response_complete):
            self.replace(_INTERNAL)

    def _words_for(self, error: TransportRefusal) -> HttpResponse:
        head = self.head
        moments = (self.arrived_ns, self.completed_ns or now_ns())
        refused = RefusedRequest(head.method, head.path, head.fields, head.address, *moments)
        words = self.connection.state.wording.words_for(error, refused)
        self._note_id(words.headers)
        return words

    def _note_id(self, fields: Collection[tuple[str, str]]) -> None:
        self.request_id = next((value for name, value in fields if name == REQUEST_ID), "")

    def _is_endless(self) -> bool:
        discard_bytes = self.connection.state.limits.discard_bytes
        return self.declared_bytes is not None and self.declared_bytes - self.received_bytes > discard_bytes

    @property
    def socket(self) -> Any:
        """The client's socket, or what the event loop gives in its place; None when there is none."""
        return self.connection.transport.get_extra_info("socket")

    @property
    def room(self) -> LoopRoom:
        """Where decoding what this brought finds its memory."""
        return self.connection.state.room

    def _answer_no_room(self) -> None:
        if self.response_started:
            self.connection.transport.abort()  # the application would take a part of the body for the whole
            return
        response = self._words_for(TooManyUploads())
        self.respond(response.status, response.headers, response.body)
        self.abandon()

    def _hand_over(self) -> None:
        collector, self._collector = self._collector, None
        if collector is not None and not (self.disconnected or self.response_complete):
            collector(None if self.too_large else self._whole_body())
