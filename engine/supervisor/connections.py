"""Connections of the control socket: accepted, read, and written without ever waiting for a slow reader.

What a slow reader has not taken stands in its outbox, with duplicates of the descriptors; one that lets it grow past
`LONGEST_OUTBOX` is disconnected. A lost connection is no death: whoever lives comes back and offers what it holds.

A message whose handling failed for a reason of ours is handled again, before any other of that peer. Where that cannot
be, because its descriptors are gone or it fails each time, the peer is disconnected and says everything anew.
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

from engine.errors import CallerError, PeerGone, ProtocolError
from engine.messages import Connection, socket_path
from engine.supervisor.loop import Loop

MOST_TRIES = 10  # of one message; then its peer has waited some ten seconds
LONGEST_OUTBOX = 2000  # arbitrary: a hundred times what a burst of events needs
_BACKLOG = 256
_FLUSH_AGAIN_S = 0.05

_log = logging.getLogger(__name__)
_Kind = type  # `Parcel.type` hides the builtin inside that class


class Parcel:
    """A received message and its descriptors; those not taken are closed after it was handled."""

    def __init__(self, fields: dict[str, Any], fds: list[int]) -> None:
        self.fields = fields
        self._fds = fds
        self.is_whole = True  # whether it can be handled once more

    @property
    def type(self) -> str:
        return str(self.fields["type"])

    def take_fds(self, count: int) -> list[int]:
        """The next `count` descriptors, which the caller owns from here on. Raises ProtocolError for too few."""
        if len(self._fds) < count:
            raise ProtocolError(f"{self.type!r} came with too few descriptors")
        self.is_whole = self.is_whole and not count
        taken, self._fds = self._fds[:count], self._fds[count:]
        return taken

    def first_fd(self) -> int:
        """The next descriptor, which stays the parcel's. Raises ProtocolError if there is none."""
        if not self._fds:
            raise ProtocolError(f"{self.type!r} came with too few descriptors")
        return self._fds[0]

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
        self._unheard = False  # nothing more can be sent; what it said before that is still to be read
        self._held: tuple[Callable[[Parcel], None], Parcel] | None = None  # what is being handled, and by whom
        self._tries = 0

    def listen(self) -> None:
        """Begins to read; `on_parcel` is what it is to be by then."""
        self._loop.watch(self._connection.fileno(), self._read)

    @property
    def doing(self) -> str:
        """What is being handled, in words; empty for nothing."""
        return f"{self._held[1].type} of pid {self.pid}" if self._held is not None else ""

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Sends now or queues; never waits. `fds` stay the caller's. Nothing happens if the connection is lost.

        Raises OSError if there is no descriptor left to queue `fds`; then nothing was sent.
        """
        if not self.open or self._unheard:
            return
        try:
            if not self._outbox and self._sends(message, fds):
                return
        except PeerGone:
            self._stop_sending()
            return
        if len(self._outbox) >= LONGEST_OUTBOX:
            _log.error("pid %d does not read its messages; disconnected", self.pid)
            self.close()
            return
        self._outbox.append((message, _duplicates(fds)))
        self._loop.watch(self._connection.fileno(), self._read, self._flush)

    def close(self) -> None:
        """Closes the connection and tells `on_gone`. Idempotent."""
        if not self.open:
            return
        self.open = False
        self._loop.unwatch(self._connection.fileno())
        self._connection.close()
        self._empty_outbox()
        self._let_go()
        self._loop.attempt(self.on_gone)

    def _sends(self, message: dict[str, Any], fds: Sequence[int]) -> bool:
        """Whether it was taken. For want of a descriptor for a large body it is not, and tried again."""
        try:
            return self._connection.try_send(message, fds)
        except OSError:
            return False

    def _stop_sending(self) -> None:
        """Its last words, a goodbye perhaps, stand before the end of the connection and are read by `_read`."""
        self._unheard = True
        self._connection.hang_up()  # should it live, it learns that it has to come anew
        self._empty_outbox()
        self._loop.watch(self._connection.fileno(), self._read)

    def _empty_outbox(self) -> None:
        while self._outbox:
            _close_all(self._outbox.popleft()[1])

    def _flush(self) -> None:
        sent = 0
        try:
            while self._outbox and self._sends(*self._outbox[0]):
                _close_all(self._outbox.popleft()[1])
                sent += 1
        except PeerGone:
            self._stop_sending()
            return
        if not self._outbox:
            self._loop.watch(self._connection.fileno(), self._read)
        elif not sent:
            # There is room, and yet it is not taken: for want of memory or descriptors, which no event announces.
            self._loop.watch(self._connection.fileno(), self._read)
            self._loop.call_after(_FLUSH_AGAIN_S, self._flush_again)

    def _flush_again(self) -> None:
        if self.open and self._outbox:
            self._loop.watch(self._connection.fileno(), self._read, self._flush)

    def hear_out(self) -> None:
        """Handles what it said before it died, whichever of the two the loop met first."""
        self._read()

    def _read(self) -> None:
        """Handles all that has arrived."""
        try:
            while self.open:
                if self._held is None:
                    received = self._connection.receive()
                    if received is None:
                        return
                    self._held, self._tries = (self.on_parcel, Parcel(*received)), 0
                self._handle(*self._held)
        except PeerGone:
            self.close()
        except (ProtocolError, CallerError) as error:
            _log.error("message of pid %d refused: %s; disconnected", self.pid, error)
            self.close()

    def _handle(self, handler: Callable[[Parcel], None], parcel: Parcel) -> None:
        self._tries += 1
        try:
            handler(parcel)
        except (ProtocolError, CallerError):
            raise
        except Exception:  # ours, whatever it is; the loop writes it down and comes back
            if not parcel.is_whole or self._tries >= MOST_TRIES:
                self.close()
            raise
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held[1].close()


class Listener:
    """The control socket. Its name appears by rename, so that whoever finds it can connect."""

    def __init__(self, loop: Loop, runtime_dir: Path, on_peer: Callable[[Peer], None]) -> None:
        """Listens at once. Raises OSError."""
        self._loop = loop
        self._on_peer = on_peer
        self._path = Path(socket_path(runtime_dir))
        self._socket = _listening(self._path)
        self._file_id = _file_id(self._path)
        self._arrived: Peer | None = None  # and is not yet known to anybody
        loop.watch(self._socket.fileno(), self._accept)

    def keep(self) -> None:
        """Listens anew under the same name if that was removed, or is another file's. Raises OSError."""
        if _file_id(self._path) == self._file_id is not None:
            return
        fresh = _listening(self._path)
        self._loop.attempt(self._accept)  # whoever stands in the old backlog
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        self._socket, self._file_id = fresh, _file_id(self._path)
        self._loop.watch(fresh.fileno(), self._accept)

    def close(self) -> None:
        """Nobody can connect any more; the name is gone, unless it is another's by now. Idempotent."""
        if self._socket.fileno() < 0:
            return
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        if self._arrived is not None:
            self._arrived.close()
        if _file_id(self._path) == self._file_id:
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _accept(self) -> None:
        """Raises OSError if there is no descriptor left: then the loop pauses, since the backlog would not."""
        while self._socket.fileno() >= 0:
            try:
                if self._arrived is None:
                    self._arrived = Peer(self._loop, Connection(self._socket.accept()[0]))
                self._on_peer(self._arrived)
                self._arrived.listen()
            except BlockingIOError:
                return
            except ConnectionError:
                pass  # gave up while it stood in the backlog
            except ProtocolError as error:
                _log.error("connection refused: %s", error)
            self._arrived = None


def _listening(path: Path) -> socket.socket:
    """A socket that listens as `path`, in place of any file of that name."""
    fresh = Path(f"{path}.new")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        fresh.unlink(missing_ok=True)
        listening.bind(str(fresh))
        fresh.chmod(0o600)
        listening.listen(_BACKLOG)
        fresh.rename(path)
    except BaseException:
        listening.close()
        raise
    return listening


def _file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file that has this name; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _unexpected(parcel: Parcel) -> None:
    raise ProtocolError(f"{parcel.type!r} is not expected here")


def _nothing() -> None:
    """For a connection whose loss concerns nobody."""


def _duplicates(fds: Sequence[int]) -> list[int]:
    """All of them, or none and OSError."""
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))
    except OSError:
        _close_all(made)
        raise
    return made


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
