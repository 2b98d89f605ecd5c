"""HTTP/1.1 on one connection: uvicorn's httptools protocol with bounds, a way of leaving, and fewer steps a request.

httptools bounds nothing: headers of any size and number are taken, and a peer may stop anywhere. Here headers are
bounded in bytes and fields (431), and `sweep`, called by the server about twice a second, ends connections that pause
too long: one clock for all instead of a timer for each request.

A connection that must not serve another request *lingers*: what the peer still sends is read and thrown away for a
moment. Closing with unread bytes would reset the connection, and the peer would never see its answer.
"""

from __future__ import annotations

import asyncio
import logging
import urllib.parse
from collections import deque
from collections.abc import Coroutine
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from engine.errors import CallerError
from frontend.http_exchange import Exchange, Lane
from frontend.http_wire import refusal
from frontend.transport_limits import TransportLimits
from frontend.trusted_proxies import TrustedProxies

_LOG = logging.getLogger("uvicorn.error")

_BAD_REQUEST = refusal(400, "Invalid HTTP request", "BAD_REQUEST")
_HEADER_TIMEOUT = refusal(408, "The request headers took too long", "REQUEST_TIMEOUT")
_BODY_TIMEOUT = refusal(408, "The request body took too long", "REQUEST_TIMEOUT")
_HEADERS_TOO_LARGE = refusal(431, "The request headers are too large", "HEADERS_TOO_LARGE")
_UPGRADE_REFUSED = refusal(501, "An upgrade of a request with a body is not supported", "NOT_IMPLEMENTED")
_TOO_MANY_CONNECTIONS = refusal(503, "Too many connections", "TOO_MANY_CONNECTIONS", retry_after_s=1)
_LEAVING = refusal(503, "The server is shutting down", "CLOSING", retry_after_s=1)


class HeadersTooLarge(CallerError):
    """The request headers are larger than the limit."""

    code = "HEADERS_TOO_LARGE"


class TransportState(ServerState):
    """What all connections of one server share."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = False  # set once, by the server that leaves: no connection may serve another request
        self.date_line = b""


class NightScanProtocol(HttpToolsProtocol):
    """One connection. uvicorn makes the instances, so that `limits` and `trusted_proxies` are set on a subclass."""

    limits = TransportLimits()
    trusted_proxies = TrustedProxies(())

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(server_state, TransportState)
        self.state = server_state
        self._lane = self.app if isinstance(self.app, Lane) else None
        self._answering: Exchange | None = None  # the oldest exchange without a complete response, else the last one
        self._started: Exchange | None = None  # the last one that the application or its lane got
        self._receiving: Exchange | None = None  # the exchange whose body is being parsed, or was last
        self._waiting: deque[Exchange] = deque()  # pipelined requests behind `_answering`
        self._deaf = False  # what was parsed last is no HTTP: read on, but into nothing
        self._in_headers = False
        self._header_bytes = 0
        self._header_began_now = False  # in the bytes being fed: where in them is not known
        self._declared_bytes: int | None = None
        self._forwarded_for: list[bytes] = []
        self._forwarded_proto = b""
        self._peer_trusted = False
        self._lingering = False
        self._lingered_bytes = 0
        self._since = self.loop.time()  # when this connection last moved on

    # --- connection -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = self.client[0] if self.client else None
        # A Unix socket has no peer address; who may connect to it is decided by the file's permissions.
        self._peer_trusted = peer is None or peer in self.trusted_proxies
        if len(self.connections) > self.limits.max_connections:
            transport.write(_TOO_MANY_CONNECTIONS)
            self.linger()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._lingering = True
        self._waiting.clear()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.abandon()
        self.flow.resume_writing()
        self.transport.close()

    def linger(self) -> None:
        """Ends this connection once its peer has seen what was written: half-closes, then reads into nothing."""
        if self._lingering or self.transport.is_closing():
            return
        self._lingering, self._lingered_bytes, self._since = True, 0, self.loop.time()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def refuse(self, response: bytes) -> None:
        """Answers a request that no application will see; the last answer of this connection."""
        if self._lingering or self.transport.is_closing():
            return
        exchange = self._answering
        if exchange is None or exchange.response_complete:
            self.transport.write(response)
        else:
            exchange.replace(response)
        self.linger()

    # --- bytes ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._lingering or self._deaf:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > self.limits.discard_bytes:
                self.transport.abort()
            return
        if not self._in_headers or self._header_bytes == 0:
            self._since = self.loop.time()  # headers are timed from their first byte, everything else from the last
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._decline_upgrade()
        except httptools.HttpParserError as error:
            too_large = isinstance(error.__context__, HeadersTooLarge)
            self._refuse_parsed(_HEADERS_TOO_LARGE if too_large else _BAD_REQUEST)
        if self._in_headers:
            self._count_headers(len(data))
        self._move_on()

    def _refuse_parsed(self, response: bytes) -> None:
        answering = self._answering
        if answering is None or answering.response_complete or answering.more_body:
            self.refuse(response)
        else:  # nonsense behind a good request: that one still gets its answer, as the last one
            answering.keep_alive = False
            self._deaf = True
            self._waiting.clear()

    def _count_headers(self, fed_bytes: int) -> None:
        # Complete fields are counted exactly in `on_header`; this bounds a field that never ends. The bytes in which
        # the headers began may hold the end of an earlier body too, so they do not count.
        if not self._header_began_now:
            self._header_bytes += fed_bytes
            if self._header_bytes > self.limits.header_bytes:
                self._refuse_parsed(_HEADERS_TOO_LARGE)
        self._header_bytes = self._header_bytes or 1
        self._header_began_now = False

    def _decline_upgrade(self) -> None:
        # The parser stops here: bytes that follow are another protocol's, or a body it would not parse.
        assert self._receiving is not None
        self._receiving.keep_alive = False
        self._deaf = True
        if self._receiving.declared_bytes or any(name == b"transfer-encoding" for name, _ in self.headers):
            self.refuse(_UPGRADE_REFUSED)

    # --- parser callbacks -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._in_headers = self._header_began_now = True
        self._header_bytes = 0
        self._declared_bytes = None
        self.expect_100_continue = False
        if self._peer_trusted:
            self._forwarded_for, self._forwarded_proto = [], b""

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.limits.header_bytes:
            raise HeadersTooLarge()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self.headers.append((name, value))
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self.limits.header_bytes or len(self.headers) > self.limits.header_fields:
            raise HeadersTooLarge()
        if name == b"content-length":
            self._declared_bytes = int(value)
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif self._peer_trusted and name.startswith(b"x-forwarded-"):
            if name == b"x-forwarded-for":
                self._forwarded_for.append(value)
            elif name == b"x-forwarded-proto":
                self._forwarded_proto = value.strip().lower()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._lingering:
            return
        version = self.parser.get_http_version()
        exchange = Exchange(
            self,
            self._scope(version),
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            declared_bytes=self._declared_bytes,
        )
        exchange.expects_continue = self.expect_100_continue
        self._receiving = exchange
        if not self._waiting and (self._answering is None or self._answering.response_complete):
            self._answering = exchange
        else:  # a pipelined request: one at a time
            self.flow.pause_reading()
            self._waiting.append(exchange)

    def on_body(self, body: bytes) -> None:
        if not self._lingering and self._receiving is not None:
            self._receiving.add_body(body)

    def on_message_complete(self) -> None:
        if not self._lingering and self._receiving is not None:
            self._receiving.end_body()

    def _scope(self, version: str) -> dict[str, Any]:
        parsed = httptools.parse_url(self.url)
        raw_path = parsed.path or b"/"
        path = raw_path.decode("ascii")
        client: tuple[str, int] | None = self.client
        scheme: str | None = self.scheme
        if self._peer_trusted and (self._forwarded_for or self._forwarded_proto):
            client, scheme = self._forwarded()
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "server": self.server,
            "client": client,
            "scheme": scheme or "http",
            "root_path": self.root_path,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": parsed.query or b"",
            "headers": self.headers,
            "state": self.app_state.copy(),
            "extensions": {},
        }

    def _forwarded(self) -> tuple[tuple[str, int] | None, str | None]:
        client: tuple[str, int] | None = self.client
        scheme: str | None = self.scheme
        if self._forwarded_for:
            listed = b",".join(self._forwarded_for).decode("latin-1")
            address = self.trusted_proxies.client_of(listed)
            client = (address, 0) if address else client
        if self._forwarded_proto in (b"http", b"https"):
            scheme = "https" if self._forwarded_proto == b"https" else "http"
        return client, scheme

    # --- exchanges --------------------------------------------------------------------------------------------------

    def _move_on(self) -> None:
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
            self.spawn(exchange.run(self.app))

    def _start_next(self) -> None:
        if self._waiting and not self.is_leaving:
            self._answering = self._waiting.popleft()
            self._move_on()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in a task that a server which leaves waits for."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def response_completed(self, exchange: Exchange, status: int) -> None:
        """Called by the exchange when its response is written: what happens to the connection now."""
        self.state.total_requests += 1
        self._since = self.loop.time()
        if self.access_log:
            self._log_access(exchange, status)
        if self.transport.is_closing() or self._lingering:
            return
        if not exchange.keep_alive:
            if exchange.more_body or self._deaf:
                self.linger()
            else:
                self.transport.close()
            return
        self.flow.resume_reading()
        if self._waiting:
            # Not here: a thousand pipelined requests that are each refused at once would be a thousand calls deep.
            self.loop.call_soon(self._start_next)

    def _log_access(self, exchange: Exchange, status: int) -> None:
        scope = exchange.scope
        client = scope["client"] or ("-", 0)
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = (scope["raw_path"] + query).decode("ascii", "backslashreplace")
        self.access_logger.info(
            '%s:%d - "%s %s HTTP/%s" %d', *client, scope["method"], target, scope["http_version"], status
        )

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
        return not (busy or self._in_headers or self._waiting)

    def sweep(self, now_s: float) -> None:
        """Ends this connection if its peer has paused too long. `now_s` is the loop's time."""
        paused_s = now_s - self._since
        limits = self.limits
        if self._lingering or self.transport.is_closing():
            if paused_s > limits.linger_s:
                self.transport.abort()
        elif self._in_headers:
            if paused_s > limits.header_timeout_s:
                self.refuse(_HEADER_TIMEOUT)
        elif self._answering is None:
            if paused_s > limits.header_timeout_s:
                self.transport.close()
        elif self._answering.more_body:
            if paused_s > limits.body_idle_timeout_s and not self.flow.read_paused:
                self.refuse(_BODY_TIMEOUT)
        elif self._answering.response_complete and paused_s > limits.keepalive_s:
            self.transport.close()

    def shutdown(self) -> None:
        """Ends an idle connection; a busy one closes after its answer, since the state says draining."""
        if self.is_idle and not self.transport.is_closing():
            self.transport.close()

    def give_up(self) -> None:
        """The time for leaving is over: whoever still waits is told so."""
        if self.is_idle:
            self.transport.abort()
        else:
            self.refuse(_LEAVING)
