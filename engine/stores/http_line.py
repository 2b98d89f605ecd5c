"""One connection to an HTTP server, and one request over it: to its end, within one deadline, of bounded size.

urllib3 bounds each read; a server that sends a byte a second would hold a caller for ever. So whoever watches the
deadline cuts the line: the socket is shut down, and whatever waits for it returns.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.errors import ConfigError, StoreUnavailable

MAX_ANSWER_BYTES = 16 * 1024 * 1024
# http.client takes the end of the connection for the end of the head. An answer without a body that does not say so
# is taken for such a half.
_WITHOUT_BODY = (204, 304)
_CHUNK_BYTES = 64 * 1024
_FAILURES = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)

Found = TypeVar("Found")


class AnswerTooLarge(StoreUnavailable):
    """The server's answer is too large to be handed on."""


class GivenUp(StoreUnavailable):
    """Nobody waited for the answer any more: this says nothing of the server."""


class HttpOrigin(NamedTuple):
    """Where a server listens."""

    is_tls: bool
    host: str
    port: int | None

    @classmethod
    def of(cls, url: str) -> HttpOrigin:
        """Raises ConfigError, which does not repeat the URL: it may hold a password."""
        try:
            parsed = urllib3.util.parse_url(url)
        except urllib3.exceptions.LocationParseError as error:
            raise ConfigError("original_api_url is no address that can be understood") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError("original_api_url is no http or https address")
        return cls(parsed.scheme == "https", parsed.host.strip("[]"), parsed.port)


class HttpQuestion(NamedTuple):
    """A POST request. `target`: path and query."""

    target: str
    headers: Mapping[str, str]
    body: bytes | bytearray | memoryview


class HttpAnswer(NamedTuple):
    """A complete answer, its body as it came: not decoded."""

    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes


class HttpLine:
    """Used by one thread at a time; only `cut` may come from another, and a line that was cut is of no further use.

    Counts since the pool last looked: `opened`, `lost`, `errors`. `answered`: how the last use went, None where that
    says nothing of the server.
    """

    def __init__(self, origin: HttpOrigin, connect_timeout_s: float) -> None:
        kind = HTTPSConnection if origin.is_tls else HTTPConnection
        self._connection = kind(origin.host, origin.port)
        self._connect_timeout_s = connect_timeout_s
        self._cutting = threading.Lock()  # around `_socket` and `is_cut`
        self._socket: socket.socket | None = None  # also while an answer is read whose connection is not kept
        self.is_cut = False
        self.opened = self.lost = self.errors = 0
        self.answered: bool | None = None
        self.idle_since_ns = 0

    @property
    def is_connected(self) -> bool:
        """Whether the server has kept the connection, as far as can be seen without a word."""
        return bool(self._connection.is_connected)

    def connect(self, deadline: Deadline) -> None:
        """Connects unless it is. Raises StoreUnavailable."""
        self._use(lambda: self._connect(deadline), deadline)

    def ask(self, question: HttpQuestion, deadline: Deadline) -> HttpAnswer:
        """The complete answer, whatever its status. Raises StoreUnavailable; then the connection is closed."""
        return self._use(lambda: self._asked(question, deadline), deadline)

    def cut(self) -> None:
        """Ends the use under way, from another thread: it raises at once, or as soon as there is a connection."""
        with self._cutting:
            self.is_cut = True
            if self._socket is not None:
                with suppress(OSError):  # it is not connected any more
                    # Not SSLSocket's own, which takes the encryption away under the thread that reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        self._connection.close()

    def _use(self, work: Callable[[], Found], deadline: Deadline) -> Found:
        begun_ns = now_ns()
        self.answered = None
        try:
            found = work()
            if self.is_cut:  # a head that we have cut off reads like one that has come to its end
                raise ConnectionAbortedError("cut")
            self.answered = True
            return found
        except AnswerTooLarge:
            self.answered = True
            self.close()
            raise
        except _FAILURES as error:
            self.close()
            self.errors += 1
            waited_s = (now_ns() - begun_ns) / NS_PER_S
            if self.is_cut or deadline.expired:
                raise GivenUp(f"given up after {waited_s:.2f} s") from error
            self.answered = False
            raise StoreUnavailable(f"no answer after {waited_s:.2f} s: {error}") from error
        finally:
            with self._cutting:
                self._socket = None

    def _connect(self, deadline: Deadline) -> bool:
        """Whether the connection was there already."""
        connection = self._connection
        is_kept = self.is_connected
        if not is_kept:
            if connection.sock is not None:
                self.lost += 1
                connection.close()
            connection.timeout = min(self._connect_timeout_s, deadline.remaining_s())
            connection.connect()
            self.opened += 1
        with self._cutting:
            self._socket = connection.sock
            if self.is_cut or self._socket is None:
                raise ConnectionAbortedError("cut while it was made")
        return is_kept

    def _asked(self, question: HttpQuestion, deadline: Deadline) -> HttpAnswer:
        is_kept = self._connect(deadline)
        try:
            response = self._response(question, deadline)
        except (ConnectionError, http.client.HTTPException):
            self.lost += 1
            # The server may have closed it as we began to write; of a new connection that is an answer of a kind.
            if not is_kept or self.is_cut:
                raise
            self.close()
            self._connect(deadline)
            response = self._response(question, deadline)
        body = self._body_of(response)
        has_length = "content-length" in response.headers or "transfer-encoding" in response.headers
        if not (body or has_length or response.status in _WITHOUT_BODY):
            raise ConnectionAbortedError("the head of the answer breaks off")
        return HttpAnswer(response.status, response.headers, body)

    def _response(self, question: HttpQuestion, deadline: Deadline) -> urllib3.BaseHTTPResponse:
        connection = self._connection
        assert connection.sock is not None
        connection.timeout = left_s = deadline.remaining_s()
        connection.sock.settimeout(left_s)  # for the request; `getresponse` sets it anew
        options = {"preload_content": False, "decode_content": False}
        body: Any = question.body  # of urllib3's hints a buffer is missing
        with suppress(BrokenPipeError):  # who refuses a request without reading it has answered nevertheless
            connection.request("POST", question.target, body, question.headers, **options)
        return connection.getresponse()

    def _body_of(self, response: urllib3.BaseHTTPResponse) -> bytes:
        body = bytearray()
        for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise AnswerTooLarge(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)
