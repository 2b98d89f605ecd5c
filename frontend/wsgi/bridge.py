"""ASGI on one side, a WSGI application in a bounded pool of threads on the other.

- A body of up to `SPOOL_BYTES` is read before a thread is taken, so slow senders of ordinary requests hold none; more
  is read on as the application asks for it. Chunked uploads arrive whole.
- What the application yields goes out at once; its thread waits while the client reads slowly, and is told by
  `ClientGone` when there is no client any more. The last piece is handed over before `close()` is called.
- A response shorter than its announced length closes the connection, a longer one is cut, HEAD has no body.

The thread talks to the loop in two ways only: `_post` (waits) and the future `answered` (does not).
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

from engine.clock import now_ns
from engine.errors import ClientGone, InternalError
from frontend.server.decoding_room import ROOM
from frontend.server.asgi_call import exchange_of
from frontend.server.exchange import Exchange
from frontend.server.thread_pool import ThreadPool
from frontend.server.transport_state import Message, Receive, Send
from frontend.wsgi.environ import ARRIVAL, build_environ

SPOOL_BYTES = 1024 * 1024
_BUFFER_BYTES = 64 * 1024

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

_LOG = logging.getLogger(__name__)


class Bridge:
    """An ASGI application (HTTP only) that answers with `app`, in at most `threads` threads at once."""

    def __init__(self, app: WsgiApp, *, threads: int) -> None:
        self._app = app
        self._pool = ThreadPool(threads, name="wsgi")

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        arrival_ns = now_ns()
        exchange = exchange_of(scope)
        try:
            body, complete = await _spool(receive)
        except ClientGone:
            return
        loop = asyncio.get_running_loop()
        stream = io.BytesIO(body) if complete else _streamed(body, receive, loop)
        call = _Call(loop, send, has_body=scope["method"] != "HEAD")
        connection = _connection_of(exchange)
        environ = build_environ(scope, stream, connection)
        environ[ARRIVAL] = arrival_ns
        if exchange is not None:
            environ[ROOM] = exchange.room
        watcher = _watch(call, exchange, receive if complete else None)
        try:
            await self._answer(call, environ)
        finally:
            if watcher is not None:
                watcher.cancel()
            if connection is not None:
                connection.close()
            del call, environ, exchange, stream  # as in `_answer`

    async def _answer(self, call: _Call, environ: dict[str, Any]) -> None:
        answered = call.answered
        job = self._pool.submit(functools.partial(call.run, self._app, environ))
        try:
            for message in await answered:
                await call.send(message)
        finally:
            await job  # the thread is in `close()`: a leaving frontend waits for it too
            del answered, call, environ, job  # an error holds this frame, and must not be held by what it holds

    def close(self) -> None:
        """Ends the threads."""
        self._pool.close()


class _Call:
    """One run of the application. `send`, `answered`: the loop's; everything else the thread's; `gone`: both."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send, *, has_body: bool) -> None:
        self.send = send
        self._answered: asyncio.Future[list[Message]] | None = loop.create_future()
        self.gone = False
        self._loop = loop
        self._has_body = has_body
        self._start: Message | None = None
        self._started = False  # whether `_start` was sent
        self._left_bytes: int | None = None  # of the announced length; None: not announced
        self._tail = b""
        self._settled = False

    @property
    def answered(self) -> asyncio.Future[list[Message]]:
        """The last messages, or what the application raised. To be taken before `run` is called."""
        assert self._answered is not None
        return self._answered

    def mark_gone(self) -> None:
        """The client has hung up."""
        self.gone = True

    def run(self, app: WsgiApp, environ: dict[str, Any]) -> None:
        """In the thread: the whole life of a WSGI request."""
        try:
            iterable = app(environ, self.start_response)
            try:
                self._iterate(iterable)
                self._settle(self._last_messages(), None)
            finally:
                if hasattr(iterable, "close"):
                    iterable.close()
        except ClientGone:
            self._settle([], None)
        except BaseException as raised:  # somebody else's code; a SystemExit of a view must not end this process
            self._fail(raised if isinstance(raised, Exception) else InternalError(f"a view raised {raised!r}"))

    def _fail(self, error: Exception) -> None:
        if not self._settle([], error):
            _LOG.error("a WSGI application failed after its response", exc_info=error)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333."""
        if exc_info is not None and self._started:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._start is not None and exc_info is None:
            raise InternalError("start_response was called twice")
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        code = int(status.split(" ", 1)[0])
        self._has_body = self._has_body and code not in (204, 304)
        lengths = [value for name, value in encoded if name == b"content-length"]
        self._left_bytes = int(lengths[0]) if lengths else None
        self._start = {"type": "http.response.start", "status": code, "headers": encoded}
        return self._write

    def _iterate(self, iterable: Iterable[bytes]) -> None:
        if self._start is not None and isinstance(iterable, (list, tuple)) and self._left_bytes is None:
            self._announce(sum(map(len, iterable)))
        for piece in iterable:
            if piece:
                self._write(piece)

    def _announce(self, length_bytes: int) -> None:
        assert self._start is not None
        if self._has_body and not self._started:
            self._left_bytes = length_bytes
            self._start["headers"].append((b"content-length", b"%d" % length_bytes))

    def _write(self, piece: bytes) -> None:
        if self._start is None:
            raise InternalError("the WSGI application yielded before start_response")
        if self.gone:
            raise ClientGone()
        if not self._has_body:
            return
        if self._left_bytes is not None:
            piece = piece[: self._left_bytes]
            self._left_bytes -= len(piece)
            if self._left_bytes == 0:
                self._tail += piece
                return
        self._post([*self._begin(), {"type": "http.response.body", "body": piece, "more_body": True}])

    def _begin(self) -> list[Message]:
        if self._started:
            return []
        self._started = True
        return [self._start]

    def _last_messages(self) -> list[Message]:
        if self._start is None:
            raise InternalError("the WSGI application did not call start_response")
        if self._has_body and self._left_bytes:
            raise InternalError("the WSGI application's body is shorter than its Content-Length")
        return [*self._begin(), {"type": "http.response.body", "body": self._tail, "more_body": False}]

    def _post(self, messages: list[Message]) -> None:
        asyncio.run_coroutine_threadsafe(self._send_all(messages), self._loop).result()

    async def _send_all(self, messages: list[Message]) -> None:
        for message in messages:
            await self.send(message)

    def _settle(self, messages: list[Message], error: Exception | None) -> bool:
        """Lets the loop go on. Returns False when it has gone on before."""
        if self._settled:
            return False
        self._settled = True
        try:
            self._loop.call_soon_threadsafe(self._set_answered, messages, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass
        return True

    def _set_answered(self, messages: list[Message], error: Exception | None) -> None:
        # Let go: an error holds the frame of `run`, which holds this call, which must not hold the error.
        answered, self._answered = self._answered, None
        if answered is None or answered.done():
            return
        if error is None:
            answered.set_result(messages)
        else:
            answered.set_exception(error)


class _BodyStream(io.RawIOBase):
    """The rest of a long body, fetched from the loop as it is read."""

    def __init__(self, spooled: bytes, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self._piece = memoryview(spooled)
        self._receive = receive
        self._loop = loop
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises ConnectionResetError when the client hangs up: a part must not pass for the whole."""
        while not self._piece and self._more:
            self._fetch()
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    def _fetch(self) -> None:
        message = asyncio.run_coroutine_threadsafe(_receive_once(self._receive), self._loop).result()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client hung up before the end of its request")
        self._piece = memoryview(message.get("body", b""))
        self._more = message.get("more_body", False)


def _streamed(spooled: bytes, receive: Receive, loop: asyncio.AbstractEventLoop) -> io.BufferedReader:
    return io.BufferedReader(_BodyStream(spooled, receive, loop), _BUFFER_BYTES)


async def _receive_once(receive: Callable[[], Awaitable[Message]]) -> Message:
    return await receive()


async def _spool(receive: Receive) -> tuple[bytes, bool]:
    """The body, or its first `SPOOL_BYTES` and some more, and whether that was all. Raises ClientGone."""
    pieces: list[bytes] = []
    read_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone()
        piece = message.get("body", b"")
        pieces.append(piece)
        read_bytes += len(piece)
        if not message.get("more_body", False):
            return b"".join(pieces), True
        if read_bytes > SPOOL_BYTES:
            return b"".join(pieces), False


def _watch(call: _Call, exchange: Exchange | None, receive: Receive | None) -> asyncio.Task[None] | None:
    """Tells `call` when its client hangs up: our own server calls back, another one is listened to in a task."""
    if exchange is not None:
        exchange.on_gone = call.mark_gone
        return None
    if receive is None:  # the application reads the body itself, and meets the end there
        return None
    return asyncio.create_task(_await_disconnect(call, receive))


async def _await_disconnect(call: _Call, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call.mark_gone()


def _connection_of(exchange: Exchange | None) -> socket.socket | None:
    """The client's socket, for a look by MSG_PEEK. A copy: a view that outlives its request must not hold a descriptor
    that by then belongs to another connection."""
    original = None if exchange is None else exchange.socket
    if original is None:
        return None
    try:
        return socket.socket(original.family, original.type, original.proto, os.dup(original.fileno()))
    except OSError:  # just closed
        return None
