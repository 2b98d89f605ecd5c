"""The original API as an HTTP server of its own that answers, or fails in ways that have names.

What it does with a request is `how` at the moment when the request is complete; changing it needs no restart.
"""

from __future__ import annotations

import enum
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

ANSWER = b'[{"segment":"original"}]'
_STEP_S = 0.02  # between two dripped bytes


class How(enum.Enum):
    """How the original treats a request that it has read to its end."""

    ANSWER = enum.auto()
    CLOSED_END = enum.auto()  # an answer without a length, which ends with its connection
    CHUNKED = enum.auto()
    DEAD = enum.auto()  # nobody listens: for `stop`
    SLOW = enum.auto()  # never a byte
    DRIP = enum.auto()  # a complete head, then a body that never ends, byte by byte
    DRIP_HEAD = enum.auto()  # a head that never ends
    CUT = enum.auto()  # half of the announced body
    CUT_HEAD = enum.auto()  # half of the head
    NO_HTTP = enum.auto()
    HANG_UP = enum.auto()  # no byte, and the connection closed


class Original:
    """One thread a connection; `stop` ends all of them. `port` 0: any free one."""

    def __init__(self, port: int = 0) -> None:
        self.how = How.ANSWER
        self.status = 200
        self.body = ANSWER
        self.keeps_alive = True
        self.connections = 0  # accepted since the start
        self.requests: list[bytes] = []  # the first lines
        self.stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._open)

    def hang_up(self) -> None:
        """Closes every connection, whatever goes on over it."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """From here on nobody listens; every connection is closed."""
        self.stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            self._start(self._serve, connection)
            if self.stopped.is_set():
                self.hang_up()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with closing(connection), connection.makefile("rb") as stream, suppress(OSError):
                while (line := _read_request(stream)) and not self.stopped.is_set():
                    self.requests.append(line)
                    if not self._answer(connection):
                        return
        finally:
            with self._lock:
                self._open.discard(connection)

    def _answer(self, connection: socket.socket) -> bool:
        """Whether the connection is kept."""
        how, head = self.how, f"HTTP/1.1 {self.status} X\r\nContent-Type: application/json\r\n".encode()
        if how is How.ANSWER:
            head += b"" if self.keeps_alive else b"Connection: close\r\n"
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body)
            return self.keeps_alive
        if how is How.CHUNKED:
            chunk = b"%x\r\n%s\r\n" % (len(self.body), self.body) if self.body else b""
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
            return True
        if how is How.CLOSED_END:
            connection.sendall(head + b"\r\n" + self.body)
        elif how is How.SLOW:
            self._until_gone(connection, b"")
        elif how is How.DRIP:
            connection.sendall(head + b"Content-Length: 1000000\r\n\r\n")
            self._until_gone(connection, b"x")
        elif how is How.DRIP_HEAD:
            connection.sendall(head + b"X-Long: ")
            self._until_gone(connection, b"x")
        elif how is How.CUT:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % (2 * len(self.body)) + self.body)
        elif how is How.CUT_HEAD:
            connection.sendall(head + b"Content-Len")
        elif how is How.NO_HTTP:
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
        return False

    def _until_gone(self, connection: socket.socket, drop: bytes) -> None:
        while not self.stopped.wait(_STEP_S) and not _is_gone(connection):
            connection.sendall(drop)


def _is_gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


def _read_request(stream: object) -> bytes:
    """The first line of the next request, which is read to its end; empty at the end of the connection."""
    first: bytes = stream.readline()  # type: ignore[attr-defined]
    length = 0
    while (line := stream.readline().strip()) and first:  # type: ignore[attr-defined]
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    stream.read(length)  # type: ignore[attr-defined]
    return first.strip()


@contextmanager
def original_server(port: int = 0) -> Iterator[Original]:
    server = Original(port)
    try:
        yield server
    finally:
        server.stop()
