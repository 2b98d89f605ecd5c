"""A raw HTTP/1.1 client: sends exactly the bytes that a test wants, reads exactly one response."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 20.0


class ConnectionEnded(Exception):
    """The server closed, or reset, before a complete response had come. `received`: what had."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"connection ended after {received[:200]!r}")
        self.received = received


@dataclass(frozen=True)
class Response:
    """Header names are lower-case; of a header sent twice the last value is kept."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server announced that it closes the connection."""
        return self.headers.get("connection", "").lower() == "close"

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One client connection. Use as a context manager."""

    def __init__(self, address: tuple[str, int], *, timeout_s: float = TIMEOUT_S) -> None:
        self.socket = socket.create_connection(address, timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Response:
        """Sends a complete request and reads its response."""
        self.send(request_bytes(method, path, body, headers))
        return self.read_response(head_only=method == "HEAD")

    def read_response(self, *, head_only: bool = False) -> Response:
        """One final response; 100 Continue is passed over. Raises ConnectionEnded, TimeoutError."""
        while True:
            head = self._read_until(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ", 2)[1])
            fields = (line.partition(":") for line in lines[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in fields}
            if status >= 200:
                break
        if head_only or status in (204, 304):
            return Response(status, headers, b"")
        return Response(status, headers, self._read_body(headers))

    def read_until_close(self) -> bytes:
        """Everything until the server closes; a reset counts as a close."""
        while self._fill():
            pass
        received, self._received = bytes(self._received), bytearray()
        return received

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._read_chunks()
        if "content-length" not in headers:
            return self.read_until_close()
        return self._read_exactly(int(headers["content-length"]))

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self._read_until(b"\r\n").split(b";")[0], 16):
            body += self._read_exactly(size)
            self._read_exactly(2)
        self._read_until(b"\r\n")
        return body

    def _read_until(self, mark: bytes) -> bytes:
        while (found := self._received.find(mark)) < 0:
            self._need_more()
        data = bytes(self._received[:found])
        del self._received[: found + len(mark)]
        return data

    def _read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._need_more()
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def _need_more(self) -> None:
        if not self._fill():
            raise ConnectionEnded(bytes(self._received))

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except (ConnectionResetError, BrokenPipeError):
            return False
        self._received += data
        return bool(data)


def request_bytes(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """A complete request; Content-Length is added for a body unless `headers` say how it is framed."""
    fields = {"Host": "test", **(headers or {})}
    framed = {name.lower() for name in fields} & {"content-length", "transfer-encoding"}
    if (body or method in ("POST", "PUT")) and not framed:
        fields["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def chunked(*pieces: bytes) -> bytes:
    """`pieces` as a complete chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


def fetch(address: tuple[str, int], method: str, path: str, body: bytes = b"", **headers: str) -> Response:
    """One request on a connection of its own; `_` in header names stands for `-`."""
    with Connection(address) as connection:
        return connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
