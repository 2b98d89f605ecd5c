"""One keep-alive connection of a load, with one request under way."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from engine.clock import now_ns
from frontend.cli.target import LoadTarget

CONNECT_S = 5.0

_RECEIVE_BYTES = 1 << 16
_MOST_HEAD_BYTES, _MOST_BYTES = 1 << 16, 64 << 20  # four times what the server makes
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n")
_TIMING = re.compile(rb"\r\nserver-timing:([^\r]*)")
_PART = re.compile(rb"(\w+);dur=(\d{1,12}(?:\.\d{1,9})?)(?![\d.])")
_HIT = re.compile(rb'"cache_hit":\s*true')
_CHUNKED = b"\r\ntransfer-encoding: chunked\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class LoadAnswer:
    """One answer, as it was seen from here."""

    status: int
    latency_ns: int
    head: bytes  # in small letters
    body: bytes  # as it came, where it came in chunks

    @property
    def closes(self) -> bool:
        return b"\r\nconnection: close\r\n" in self.head

    @property
    def is_cached(self) -> bool:
        return _HIT.search(self.body) is not None

    @property
    def parts_ms(self) -> dict[str, float]:
        """As its Server-Timing says."""
        timing = _TIMING.search(self.head)
        return {name.decode(): float(value) for name, value in _PART.findall(timing[1])} if timing else {}


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
        end = self._received.find(_END) + len(_END)
        if end < len(_END):
            if len(self._received) > _MOST_HEAD_BYTES:
                raise ConnectionError("no answer of HTTP/1.1")
            return None
        return self._answer(bytes(self._received[:end]).lower(), end)

    def close(self) -> None:
        """Idempotent."""
        self.socket.close()

    def _answer(self, head: bytes, end: int) -> LoadAnswer | None:
        length = _LENGTH.search(head)
        if not head.startswith(b"http/1.") or not head[9:12].isdigit() or not (length or _CHUNKED in head):
            raise ConnectionError("no answer of HTTP/1.1 with a length")
        if len(self._received) > _MOST_BYTES:
            raise ConnectionError(f"an answer of over {_MOST_BYTES >> 20} MB")
        if length is None and not self._received.endswith(_LAST_CHUNK):
            return None
        if length is not None and len(self._received) < end + int(length[1]):
            return None
        return LoadAnswer(int(head[9:12]), now_ns() - self._began_ns, head, bytes(self._received[end:]))

    def _send(self) -> None:
        try:
            while self._left:
                self._left = self._left[self.socket.send(self._left) :]
        except BlockingIOError:
            return
