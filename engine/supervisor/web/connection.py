"""One connection of the status server: never waited for, bounded in bytes and time, closed by whoever is first."""

from __future__ import annotations

import contextlib
import socket
from enum import Enum
from typing import Protocol

from engine.clock import NS_PER_S, now_ns
from engine.supervisor.loop import Loop
from engine.supervisor.web.answer import StatusAnswer, error_answer
from engine.supervisor.web.refusal import StatusRefusal
from engine.supervisor.web.request import StatusReader, StatusRequest

HEAD_S = 5.0  # for a request, from its first byte to its last
IDLE_S = 60.0  # between two requests
ANSWER_S = 60.0  # for an order to be carried out, before it is said that it is under way
WRITE_S = 10.0  # for an answer that is not taken
END_S = 2.0  # for the other end to have read the last answer
_AT_ONCE_BYTES = 16 * 1024
_KERNEL_BYTES = 64 * 1024  # of answers that are not taken; of its own accord the kernel keeps megabytes of each
_MOST_UNREAD_BYTES = 1024 * 1024  # thrown away at the end; whoever goes on loses the answer


class Doing(Enum):
    """What a connection is about."""

    IDLE = "idle"  # nothing of a request has come
    READING = "reading"
    ANSWERING = "answering"  # somebody works on it
    WRITING = "writing"
    STREAMING = "streaming"
    ENDING = "ending"  # all is said; what still comes is thrown away


class StatusService(Protocol):
    """Who answers."""

    def check(self, request: StatusRequest, connection: StatusConnection) -> None:
        """Before a body is read. Raises StatusRefusal."""

    def answer(self, request: StatusRequest, connection: StatusConnection) -> StatusAnswer | None:
        """Now; None: `connection.answer` is called later."""

    def waits(self) -> None:
        """An answer is not taken at once."""

    def closed(self, connection: StatusConnection) -> None:
        """It is gone."""


class StatusConnection:
    """For the thread of the status server alone."""

    def __init__(self, loop: Loop, connected: socket.socket, service: StatusService) -> None:
        """Owns the socket, and begins to read."""
        self._loop = loop
        self._socket = connected
        self._service = service
        self._reader = StatusReader(lambda request: service.check(request, self))
        self._request = StatusRequest()
        self._out = b""
        self._ends = False  # after what is in `_out`
        self._unread_bytes = 0
        self._hears = True  # the other end may still ask something
        self.doing = Doing.IDLE
        self.give_up_at_ns = now_ns() + int(HEAD_S * NS_PER_S)  # LAST_NS of the service's own for what it answers
        connected.setblocking(False)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        self.reached = _address(connected)  # the address that it came to; empty for a socket in the file system
        loop.watch(connected.fileno(), self._readable)

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    def close(self) -> None:
        """Idempotent."""
        if self.is_open:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._service.closed(self)

    def answer(self, answer: StatusAnswer) -> None:
        """The answer to what it asked. Nothing happens once it is closed."""
        if not self.is_open:
            return
        keep_alive = self._request.keep_alive and not self._reader.is_crowded and self._hears
        self._out += answer.encoded(head_only=self._request.method == "HEAD", keep_alive=keep_alive)
        self._ends = not keep_alive or answer.body is None
        streams = answer.body is None and self._request.method != "HEAD"
        self._now(Doing.STREAMING if streams else Doing.WRITING, WRITE_S)
        self._flush()
        if self._out:
            self._service.waits()

    def answer_later(self, request: StatusRequest, answer: StatusAnswer) -> None:
        """The answer to `request`, unless it was given up: then something else may be asked by now."""
        if self.doing is Doing.ANSWERING and self._request is request:
            self.answer(answer)

    def push(self, piece: bytes) -> bool:
        """More of an answer without an end; whether it was taken: not while the last piece is still on its way."""
        if not self.is_open or self._out:
            return False
        self._out = piece
        self._now(Doing.STREAMING, WRITE_S)
        self._flush()
        return True

    def _now(self, doing: Doing, within_s: float) -> None:
        self.doing = doing
        self.give_up_at_ns = now_ns() + int(within_s * NS_PER_S)

    # --- events -----------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_AT_ONCE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._heard_end()
        elif self.doing in (Doing.IDLE, Doing.READING):
            self._feed(data)
        elif self.doing is Doing.ENDING:
            self._unread_bytes += len(data)
            if self._unread_bytes > _MOST_UNREAD_BYTES:
                self.close()
        else:
            self._reader.is_crowded = True  # what comes now is not read; the connection ends with the answer

    def _heard_end(self) -> None:
        """Nothing more will be asked; what has been is answered to the end, if anybody is there to take it."""
        if self.doing is not Doing.ANSWERING and not (self.doing is Doing.WRITING and self._out):
            self.close()
            return
        self._hears, self._ends = False, True
        self._loop.unwatch(self._socket.fileno())  # it would be readable without end
        if self._out:
            self._loop.watch(self._socket.fileno(), None, self._flush)

    def _feed(self, data: bytes) -> None:
        if self.doing is Doing.IDLE:
            self._now(Doing.READING, HEAD_S)
        try:
            self._reader.feed(data)
        except StatusRefusal as refusal:
            self._request = StatusRequest()  # what it was does not matter any more
            self.answer(error_answer(refusal))
            return
        if self._reader.complete is not None:
            self._request = self._reader.complete
            self._now(Doing.ANSWERING, ANSWER_S)
            answer = self._service.answer(self._request, self)
            if answer is not None:
                self.answer(answer)

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._out) if self._out else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._out = self._out[sent:]
        if self._out:
            self._loop.watch(self._socket.fileno(), self._readable if self._hears else None, self._flush)
            return
        if not self._hears:
            self.close()
            return
        self._loop.watch(self._socket.fileno(), self._readable)
        if self.doing is Doing.WRITING:
            self._answered()

    def _answered(self) -> None:
        if self._ends:
            self._end()
            return
        self._reader.next()
        self._now(Doing.IDLE, IDLE_S)

    def _end(self) -> None:
        """Were it closed while more is coming in, the other end might lose what it was told before it has read that."""
        self._now(Doing.ENDING, END_S)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)


def _address(connected: socket.socket) -> str:
    name = connected.getsockname()
    return str(name[0]) if isinstance(name, tuple) else ""
