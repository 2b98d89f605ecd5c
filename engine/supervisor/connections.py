"""Connections of the control socket: accepted, read, and written without ever waiting for a slow reader.

What a slow reader has not taken stands in its outbox, with duplicates of the descriptors; one that lets it grow past
`LONGEST_OUTBOX` is disconnected. A lost connection is no death: whoever lives comes back and offers what it holds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.errors import EngineError, PeerGone, ProtocolError
from engine.messages import Connection, socket_path
from engine.supervisor.loop import Loop

LONGEST_OUTBOX = 2000  # arbitrary: a hundred times what a burst of events needs
_BACKLOG = 256
_ACCEPT_AGAIN_S = 0.5

_log = logging.getLogger(__name__)
_Kind = type  # `Parcel.type` hides the builtin inside that class


class Parcel:
    """A received message and its descriptors; those not taken are closed after it was handled."""

    def __init__(self, fields: dict[str, Any], fds: list[int]) -> None:
        self.fields = fields
        self._fds = fds

    @property
    def type(self) -> str:
        return str(self.fields["type"])

    def take_fds(self, count: int) -> list[int]:
        """The next `count` descriptors, which the caller owns from here on. Raises ProtocolError for too few."""
        if len(self._fds) < count:
            raise ProtocolError(f"{self.type!r} came with too few descriptors")
        taken, self._fds = self._fds[:count], self._fds[count:]
        return taken

    @property
    def fds_left(self) -> int:
        return len(self._fds)

    def text(self, name: str) -> str:
        """A text field. Raises ProtocolError."""
        return str(self._typed(name, str))

    def number(self, name: str) -> int:
        """A whole number. Raises ProtocolError."""
        return int(self._typed(name, int))

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; empty if it is not there. Raises ProtocolError."""
        return dict(self._typed(name, dict, {}))

    def sequence(self, name: str) -> list[Any]:
        """A list; empty if it is not there. Raises ProtocolError."""
        return list(self._typed(name, list, []))

    def close(self) -> None:
        for fd in self.take_fds(len(self._fds)):
            os.close(fd)

    def _typed(self, name: str, kind: _Kind, default: object = None) -> Any:
        value = self.fields.get(name, default)
        if not isinstance(value, kind):
            raise ProtocolError(f"{self.type!r}: {name} must be {kind.__name__}, not {value!r:.80}")
        return value


class Peer:
    """The other end of one connection. `on_parcel` and `on_gone` are set once its hello says what it is."""

    def __init__(self, loop: Loop, connection: Connection) -> None:
        self._loop = loop
        self._connection = connection
        self._outbox: deque[tuple[dict[str, Any], list[int]]] = deque()
        self.pid = connection.peer_pid
        self.on_parcel: Callable[[Parcel], None] = _unexpected
        self.on_gone: Callable[[], None] = _nothing
        self.open = True
        self._unheard = False  # the other end has closed; what it said before that is still to be read
        loop.watch(connection.fileno(), self._read)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Sends now or queues; never waits. `fds` stay the caller's. Nothing happens if the connection is lost."""
        if not self.open or self._unheard:
            return
        try:
            if not self._outbox and self._connection.try_send(message, fds):
                return
        except PeerGone:
            self._stop_sending()
            return
        if len(self._outbox) >= LONGEST_OUTBOX:
            _log.error("pid %d does not read its messages; disconnected", self.pid)
            self.close()
            return
        self._outbox.append((message, [os.dup(fd) for fd in fds]))
        self._loop.watch(self._connection.fileno(), self._read, self._flush)

    def close(self) -> None:
        """Closes the connection and tells `on_gone`. Idempotent."""
        if not self.open:
            return
        self.open = False
        self._loop.unwatch(self._connection.fileno())
        self._connection.close()
        self._empty_outbox()
        self.on_gone()

    def _stop_sending(self) -> None:
        """Its last words, a goodbye perhaps, stand before the end of the connection and are read by `_read`."""
        self._unheard = True
        self._empty_outbox()
        self._loop.watch(self._connection.fileno(), self._read)

    def _empty_outbox(self) -> None:
        while self._outbox:
            _close_all(self._outbox.popleft()[1])

    def _flush(self) -> None:
        try:
            while self._outbox and self._connection.try_send(*self._outbox[0]):
                _close_all(self._outbox.popleft()[1])
        except PeerGone:
            self._stop_sending()
            return
        if not self._outbox:
            self._loop.watch(self._connection.fileno(), self._read)

    def hear_out(self) -> None:
        """Handles what it said before it died, whichever of the two the loop met first."""
        self._read()

    def _read(self) -> None:
        """Handles all that has arrived."""
        try:
            while self.open and (received := self._connection.receive()) is not None:
                self._handle(Parcel(*received))
        except PeerGone:
            self.close()
        except EngineError as error:
            # One peer's nonsense is no reason to stop the machine's engine.
            _log.error("message of pid %d refused: %s; disconnected", self.pid, error)
            self.close()

    def _handle(self, parcel: Parcel) -> None:
        try:
            self.on_parcel(parcel)
        finally:
            parcel.close()


class Listener:
    """The control socket. Its name appears by rename, so that whoever finds it can connect."""

    def __init__(self, loop: Loop, runtime_dir: Path, on_peer: Callable[[Peer], None]) -> None:
        self._loop = loop
        self._on_peer = on_peer
        self._path = socket_path(runtime_dir)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        fresh = f"{self._path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        self._socket.bind(fresh)
        os.chmod(fresh, 0o600)
        self._socket.listen(_BACKLOG)
        os.rename(fresh, self._path)
        self._listen()

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.watch(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Nobody can connect any more; the name is gone."""
        self._loop.unwatch(self._socket.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gave up while it stood in the backlog
            except OSError as error:
                _log.error("cannot accept a connection: %s", error)  # no descriptor left: not at once again
                self._loop.unwatch(self._socket.fileno())
                self._loop.call_after(_ACCEPT_AGAIN_S, self._listen)
                return
            try:
                self._on_peer(Peer(self._loop, Connection(sock)))
            except ProtocolError as error:
                _log.error("connection refused: %s", error)


def _unexpected(parcel: Parcel) -> None:
    raise ProtocolError(f"{parcel.type!r} is not expected here")


def _nothing() -> None:
    """For a connection whose loss concerns nobody."""


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
