"""The request half of an exchange: its body on the way in, counted.

Every byte of the body that is held is counted in `InflightBodies`, once, until it is let go. A body that comes in one
piece is handed on as it is.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Protocol

from engine.clock import now_ns
from frontend.server.body import LONG_BYTES, Body, BodyBuffer, LongBody
from frontend.server.connection_flow import ConnectionFlow, Pause
from frontend.server.head import RequestHead
from frontend.server.transport_state import TransportState
from frontend.server.wire import CONTINUE

HIGH_WATER_BYTES = 64 * 1024  # of body that an application has not fetched: reading pauses


class ExchangeConnection(Protocol):
    """The connection that an exchange happens on, which makes it and hears of its end."""

    transport: asyncio.Transport
    flow: ConnectionFlow
    state: TransportState

    def response_completed(self) -> None:
        """The response of the exchange that is being answered is written."""

    def linger(self) -> None:
        """Ends the connection once its peer has seen what was written."""

    def move_on(self) -> None:
        """Starts or wakes what is being answered."""


class BodyIntake:
    """A `BodyHolder`. What is neither taken nor wanted any more is thrown away as it comes."""

    __slots__ = (
        *("_body", "_buffer", "_limit_bytes", "_pressed", "arrived_ns", "completed_ns", "connection"),
        *("declared_bytes", "expects_continue", "has_no_room", "held_bytes", "keep_alive", "more_body"),
        *("received_bytes", "response_complete", "too_large"),
    )

    def __init__(self, connection: ExchangeConnection, head: RequestHead, *, keep_alive: bool) -> None:
        self.connection = connection
        self.keep_alive = keep_alive
        self.declared_bytes = head.declared_bytes  # by Content-Length; None: not declared
        self.expects_continue = head.expects_continue
        self.arrived_ns = now_ns()  # when the headers were complete
        self.completed_ns = 0  # when the body was; 0: not yet
        self.more_body = True
        self.received_bytes = 0  # of the body, also what was thrown away
        self.too_large = False
        self.has_no_room = False  # it was given up for lack of memory
        self.response_complete = False
        self.held_bytes = 0  # of `_body` and `_buffer`; counted in `inflight`, and to be freed by this exchange
        self._body = b""  # what has come, while that is one piece
        self._buffer: BodyBuffer | None = None  # what has come, in place of `_body`
        self._pressed = False  # `inflight` knows this exchange
        self._limit_bytes: int | None = None  # while collecting; None: it is taken piece by piece

    # --- from the connection ----------------------------------------------------------------------------------------

    def add_body(self, data: bytes) -> None:
        """More of the request's body has come. Wakes nobody."""
        size_bytes = len(data)
        self.received_bytes += size_bytes
        limit_bytes = self._limit_bytes
        if self.response_complete or self.too_large or self.has_no_room:
            self._discard()
        elif limit_bytes is not None and self.received_bytes > limit_bytes:
            self._drop_body()
            self.too_large = True
        else:
            if self.held_bytes:
                self._buffer_more(data)
            else:
                self._body = data
            self.held_bytes += size_bytes
            inflight = self.connection.state.inflight
            inflight.used_bytes += size_bytes
            if inflight.used_bytes > inflight.soft_bytes:
                self._pressed = True
                inflight.press(self, self.connection.state.loop.time())
            if limit_bytes is None and self.held_bytes > HIGH_WATER_BYTES:
                self.connection.flow.pause_reading(Pause.UNFETCHED)

    def end_body(self) -> None:
        """The request's body is complete. Wakes nobody."""
        self.more_body = False
        self.completed_ns = now_ns()
        if self._pressed:
            self._leave_line()

    def go_on(self) -> None:
        """Tells a client that asked whether it shall send its body that it shall."""
        if self.expects_continue and not self.connection.transport.is_closing():
            self.expects_continue = False
            self.connection.transport.write(CONTINUE)

    # --- out ---------------------------------------------------------------------------------------------------------

    def take_body(self) -> Body:
        """What has come and was not taken before, in one piece; it is counted no longer."""
        body, buffer = self._body, self._buffer
        self._body, self._buffer = b"", None
        self._free_held()
        return body if buffer is None else buffer.take()

    def _whole_body(self) -> Body:
        if self._buffer is None:  # it goes on being counted until the answer is there
            body, self._body = self._body, b""
            return body
        whole, self._buffer = self._buffer.take(), None
        if isinstance(whole, LongBody):  # it may outlive this exchange, in a thread that decodes it
            state = self.connection.state
            gone = weakref.finalize(whole, state.inflight.free_later, state.loop, self.held_bytes)
            gone.atexit = False
            self.held_bytes = 0
        return whole

    def _buffer_more(self, data: bytes) -> None:
        if self._buffer is None:
            self._buffer = BodyBuffer()
            self._buffer.add(self._body)
            self._body = b""
        self._buffer.add(data)

    def _discard(self) -> None:
        if self.received_bytes <= self.connection.state.limits.discard_bytes:
            return
        self.keep_alive = False
        if self.response_complete:
            self.connection.linger()

    def _drop_body(self) -> None:
        self._body, self._buffer = b"", None
        if self.held_bytes:
            self._free_held()
        if self._pressed:
            self._leave_line()

    def _free_held(self) -> None:
        held_bytes, self.held_bytes = self.held_bytes, 0
        inflight = self.connection.state.inflight
        inflight.used_bytes -= held_bytes
        if inflight.waiting:
            inflight.free(0, self.connection.state.loop.time())

    def _leave_line(self) -> None:
        self._pressed = False
        self.connection.state.inflight.leave(self, self.connection.state.loop.time())

    # --- from those who count bodies --------------------------------------------------------------------------------

    @property
    def is_short(self) -> bool:
        """See `BodyHolder`. What is handed over piece by piece never holds much."""
        longest_bytes = self.received_bytes if self.declared_bytes is None else self.declared_bytes
        return self._limit_bytes is None or longest_bytes <= LONG_BYTES

    @property
    def lacking_bytes(self) -> int:
        """See `BodyHolder`."""
        whole_bytes = self._limit_bytes if self.declared_bytes is None else self.declared_bytes
        return max(0, (whole_bytes or 0) - self.received_bytes) if self.more_body else 0

    def pause_for_memory(self) -> None:
        """See `BodyHolder`."""
        self.connection.flow.pause_reading(Pause.MEMORY)

    def resume_from_memory(self) -> None:
        """See `BodyHolder`."""
        self.connection.flow.resume_reading(Pause.MEMORY)

    def refuse_for_memory(self) -> None:
        """See `BodyHolder`. The rest of the body is read into nothing, so that its sender sees the answer."""
        self.has_no_room = True
        self._drop_body()
        # Not at once: this may be a callback of the parser, which is not done yet; and in its turn on its connection.
        self.connection.state.loop.call_soon(self.connection.move_on)
