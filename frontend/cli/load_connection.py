"""One keep-alive connection of a load, with one request under way."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field

from engine.clock import now_ns
from frontend.cli.target import LoadTarget

CONNECT_S = 5.0

_RECEIVE_BYTES = 1 << 16
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_TIMING = re.compile(rb"\r\nserver-timing:([^\r]*)", re.IGNORECASE)
_PART = re.compile(rb"(\w+);dur=([\d.]+)")
_HIT = re.compile(rb'"cache_hit":\s*true')


@dataclass(frozen=True, slots=True)
class LoadAnswer:
    """One answer, as it was seen from here."""

    status: int
    latency_ns: int
    closes: bool
    is_cached: bool
    parts_ms: dict[str, float] = field(default_factory=dict)  # as its Server-Timing says
    body: bytes = b""


class LoadConnection:
    """Never waits."""

    def __init__(self, target: LoadTarget) -> None:
        """Raises OSError when nobody listens."""
        self._left = memoryview(b"")
        self._received = bytearray()
        self._began_ns = 0
        self.socket: socket.socket = target.connect(CONNECT_S)
        self.socket.setblocking(False)

    @property
    def wants_to_send(self) -> bool:
        return bool(self._left)

    def begin(self, request: bytes) -> None:
        """Sends what the kernel takes; `go_on` does the rest. Raises OSError."""
        self._left, self._began_ns = memoryview(request), now_ns()
        self._received.clear()
        self._send()

    def go_on(self) -> LoadAnswer | None:
        """The answer, once it is complete. Raises OSError, ConnectionError too for what is no answer of ours."""
        self._send()
        try:
            piece = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        if not piece:
            raise ConnectionResetError("closed in place of an answer")
        self._received += piece
        head_bytes = self._received.find(_END)
        if head_bytes < 0:
            return None
        head = bytes(self._received[:head_bytes])
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.") or length is None:
            raise ConnectionError("no answer of HTTP/1.1 with a length")
        if len(self._received) < head_bytes + len(_END) + int(length[1]):
            return None
        return self._answer(head, bytes(self._received[head_bytes + len(_END) :]))

    def close(self) -> None:
        """Idempotent."""
        self.socket.close()

    def _answer(self, head: bytes, body: bytes) -> LoadAnswer:
        timing = _TIMING.search(head)
        parts = _PART.findall(timing[1]) if timing is not None else []
        return LoadAnswer(
            status=int(head[9:12]),
            latency_ns=now_ns() - self._began_ns,
            closes=b"\r\nconnection: close" in head.lower(),
            is_cached=_HIT.search(body) is not None,
            parts_ms={name.decode(): float(value) for name, value in parts},
            body=body,
        )

    def _send(self) -> None:
        try:
            while self._left:
                self._left = self._left[self.socket.send(self._left) :]
        except BlockingIOError:
            return
