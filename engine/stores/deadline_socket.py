"""A socket whose every wait ends at one moment, however many pieces the data comes in."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from engine.clock import Deadline

_NOTHING_THERE = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class DeadlineSocket:
    """Stands before a connected socket, plain or TLS. `deadline` is set by its owner before each exchange.

    Time-outs of sockets are for one read each: a server that sends a byte now and then would be waited for without
    end. Whoever sets a time-out on this one is not heeded.
    """

    def __init__(self, real: socket.socket, deadline: Deadline) -> None:
        self._real = real
        self.deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def settimeout(self, timeout_s: float | None) -> None:
        """Does nothing: the deadline holds."""

    def recv(self, *arguments: Any) -> bytes:
        """As of the socket. After the deadline it reads what is there; TimeoutError where that is nothing."""
        self._real.settimeout(self.deadline.remaining_s())  # 0.0: does not block
        try:
            return self._real.recv(*arguments)
        except _NOTHING_THERE:
            raise TimeoutError("the deadline has passed") from None

    def recv_into(self, *arguments: Any) -> int:
        """As `recv`."""
        self._real.settimeout(self.deadline.remaining_s())
        try:
            return self._real.recv_into(*arguments)
        except _NOTHING_THERE:
            raise TimeoutError("the deadline has passed") from None

    def sendall(self, data: Any) -> None:
        """All of it by the deadline, else TimeoutError: then nobody knows how much went out."""
        self._real.settimeout(self.deadline.remaining_s())
        try:
            self._real.sendall(data)
        except _NOTHING_THERE:
            raise TimeoutError("the deadline has passed") from None
