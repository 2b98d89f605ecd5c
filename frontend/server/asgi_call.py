"""One exchange answered by an ASGI application: its scope, `receive` and `send`.

Nothing is on the wire before the first part of the body is known, so an application that fails in between still gets a
clean 500.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from engine.errors import InternalError
from frontend.server.connection_flow import Pause
from frontend.server.exchange import Exchange
from frontend.server.framing import Framing, framing_of
from frontend.server.scope import scope_of
from frontend.server.transport_state import AsgiApp, Message
from frontend.server.wire import head

EXTENSION = "nightscan.exchange"  # in `scope["extensions"]`: the `Exchange` itself
_JOIN_BYTES = 64 * 1024  # below this one copy is cheaper than a second write


class AsgiCall:
    """One run of an application."""

    __slots__ = ("_body_handed_over", "_exchange", "_fields", "_framing", "_status", "_waiter")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._body_handed_over = False
        self._waiter: asyncio.Future[None] | None = None
        self._status = 0
        self._fields: Iterable[tuple[bytes, bytes]] = ()
        self._framing: Framing | None = None

    async def run(self, app: AsgiApp) -> None:
        """Runs the application to its end, and answers for it where it does not."""
        exchange = self._exchange
        exchange.listener = self
        extensions: dict[str, Exchange] = {}
        try:
            scope = scope_of(exchange.head, exchange.connection.state)
            scope["extensions"] = extensions
            extensions[EXTENSION] = exchange
            await app(scope, self.receive, self.send)
        except Exception as error:  # the application is somebody else's code
            exchange.fail("Exception in ASGI application", error)
        else:
            if not exchange.response_complete and not exchange.disconnected:
                exchange.fail("ASGI callable returned without completing its response.")
        finally:
            # Or else there are circles, which only the garbage collector would undo.
            exchange.listener = None
            extensions.clear()

    def wake(self) -> None:
        """See `ExchangeListener`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """ASGI receive: pieces of the body, then `http.disconnect` once the client is gone or answered."""
        exchange = self._exchange
        exchange.go_on()
        if exchange.has_no_room:
            exchange.wake()
        while not exchange.disconnected and not exchange.response_complete:
            if exchange.held_bytes or not (exchange.more_body or self._body_handed_over):
                return self._take()
            exchange.connection.flow.resume_reading(Pause.UNFETCHED)
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI send. Waits while the client reads slowly; what nobody can receive any more is dropped."""
        exchange = self._exchange
        flow = exchange.connection.flow
        if flow.write_paused and not exchange.disconnected:
            await flow.drain()
        if exchange.connection.transport.is_closing():
            await asyncio.sleep(0)  # or an application that writes on and on would never let the loop tell it
        if exchange.disconnected or exchange.response_complete:
            return
        if message["type"] == "http.response.start":
            if self._status:
                raise InternalError("http.response.start was sent twice")
            self._status, self._fields = message["status"], list(message.get("headers", ()))
            exchange.status = self._status
        elif message["type"] == "http.response.body":
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise InternalError(f"unexpected ASGI message {message['type']}")

    def _send_body(self, body: bytes, more: bool) -> None:
        if not self._status:
            raise InternalError("http.response.body was sent before http.response.start")
        begin = b"" if self._framing is not None else self._begin(body, more)
        assert self._framing is not None
        framed = self._framing.frame(body, more)
        self._exchange.response_started = True
        transport = self._exchange.connection.transport
        if len(framed) < _JOIN_BYTES:
            begin, framed = begin + framed, b""
        if begin:
            transport.write(begin)
        if framed:
            transport.write(framed)
        if not more:
            self._exchange.complete(self._status)

    def _begin(self, body: bytes, more: bool) -> bytes:
        exchange = self._exchange
        fields = {name.lower(): value for name, value in self._fields}
        framing = framing_of(
            fields,
            has_body=exchange.head.method != "HEAD" and self._status not in (204, 304),
            only_bytes=None if more else len(body),
            http_1_0=exchange.head.version == "1.0",
        )
        exchange.keep_alive = exchange.keep_alive and not framing.ends_by_closing
        if b"close" in fields.get(b"connection", b"").lower():
            exchange.keep_alive = False
            connection = b""
        else:
            connection = exchange.connection_line()
        exchange.request_id = fields.get(b"x-request-id", b"").decode("latin-1")
        made = head(self._status, self._fields, exchange.connection.state.date_line, framing.line, connection)
        self._framing = framing
        return made

    def _take(self) -> Message:
        body, more = self._exchange.take_body(), self._exchange.more_body
        self._body_handed_over = not more
        return {"type": "http.request", "body": bytes(body), "more_body": more}

    async def _wait(self) -> None:
        self._waiter = self._exchange.connection.state.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def exchange_of(scope: Any) -> Exchange | None:
    """The exchange behind an ASGI scope; None under any other server."""
    found = scope.get("extensions", {}).get(EXTENSION)
    return found if isinstance(found, Exchange) else None
