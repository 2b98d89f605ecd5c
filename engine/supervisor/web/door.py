"""Where the status server listens: a port, which may be somebody else's, and a socket in the runtime directory."""

from __future__ import annotations

import errno
import functools
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.supervisor.loop import Loop
from engine.supervisor.socket_file import SocketFile

STATUS_SOCKET = "status.sock"

_BACKLOG = 512
_MOST_AT_ONCE = 32  # connections taken before anything else is looked at

Accept = Callable[[socket.socket], None]
MakesRoom = Callable[[], bool]
_Address = tuple[Any, Any, int, str, Any]  # as getaddrinfo has them

_log = logging.getLogger(__name__)


class StatusDoor:
    """One listening socket, made anew when it is gone. `keep` may be called again and again."""

    def __init__(self, loop: Loop, on_connection: Accept, makes_room: MakesRoom) -> None:
        """`on_connection` owns what it is given. `makes_room` closes another connection; False if it closes none."""
        self._loop = loop
        self._on_connection = on_connection
        self._makes_room = makes_room
        self._socket: socket.socket | None = None

    def keep(self) -> None:
        """Listens, if it does not. Raises OSError."""
        raise NotImplementedError

    def close(self) -> None:
        """Nobody can connect any more. Idempotent."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _open(self, listening: socket.socket) -> None:
        """Raises OSError, and then nobody listens."""
        StatusDoor.close(self)  # the socket alone: a name is that of `listening` by now
        try:
            self._loop.watch(listening.fileno(), self._accept)
        except OSError:
            listening.close()
            raise
        self._socket = listening

    def _accept(self) -> None:
        """Raises OSError for want of descriptors, once nobody gives his up: then the loop pauses, since the backlog
        would not."""
        for _ in range(_MOST_AT_ONCE):
            if self._socket is None:
                return
            try:
                connection, _address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gave up while it stood in the backlog
            except OSError:
                if self._makes_room():
                    continue
                raise
            self._on_connection(connection)


class PortDoor(StatusDoor):
    """A TCP port. Taken by another process it is a warning, once, and tried again.

    A name is looked up in a thread of its own: where its servers are silent that takes longer than the page may be.
    """

    def __init__(self, loop: Loop, on_connection: Accept, makes_room: MakesRoom, host: str, port: int) -> None:
        super().__init__(loop, on_connection, makes_room)
        self._host = host
        self._port = port
        self._is_looked_up = False  # just now
        self.trouble = ""  # why nobody listens there
        self.address = ""  # where it listens; empty while it does not

    def keep(self) -> None:
        """Listens as soon as that can be."""
        if self._socket is not None or not self._port or self._is_looked_up:
            return
        try:
            found = _addresses(self._host, self._port, socket.AI_NUMERICHOST)
        except socket.gaierror:
            threading.Thread(target=self._look_up, name="status-host", daemon=True).start()  # nothing can end it
            self._is_looked_up = True  # not before: without a thread nobody would say that it is over
            return
        except UnicodeError as error:
            self._warn(error)
            return
        self._listen(found)

    def _look_up(self) -> None:
        """In its thread; what comes of it is for the loop's."""
        then: Callable[[], None]
        try:
            then = functools.partial(self._listen, _addresses(self._host, self._port, 0))
        except OSError as error:
            then = functools.partial(self._warn, error)
        self._loop.call_soon_threadsafe(functools.partial(self._looked_up, then))

    def _looked_up(self, then: Callable[[], None]) -> None:
        self._is_looked_up = False
        then()

    def _listen(self, addresses: Sequence[_Address]) -> None:
        try:
            listening = _bound(self._host, addresses)
        except OSError as error:
            self._warn(error)
            return
        self._open(listening)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.trouble, self.address = "", f"{host}:{self._port}"
        _log.info("the page, status and metrics are at http://%s/", self.address)

    def close(self) -> None:
        """Nobody can connect any more. Idempotent."""
        self.address = ""
        super().close()

    def _warn(self, error: OSError | UnicodeError) -> None:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "another process has the port" if taken else str(error)
        trouble = f"no status server at {self._host}:{self._port}: {why}"
        if trouble != self.trouble:
            _log.warning("%s; it can be asked at %s in the runtime directory", trouble, STATUS_SOCKET)
        self.trouble = trouble


class SocketDoor(StatusDoor):
    """`status.sock`."""

    def __init__(self, loop: Loop, on_connection: Accept, makes_room: MakesRoom, runtime_dir: Path) -> None:
        super().__init__(loop, on_connection, makes_room)
        self._file = SocketFile(runtime_dir / STATUS_SOCKET, socket.SOCK_STREAM, _BACKLOG)

    def keep(self) -> None:
        """Listens anew under the same name if that was removed, or is another file's. Raises OSError."""
        if self._socket is None or not self._file.is_in_place:
            self._open(self._file.listen())

    def close(self) -> None:
        """The name is gone too, unless it is another's by now. Idempotent."""
        was_open = self._socket is not None
        super().close()
        if was_open:
            self._file.remove()


def _addresses(host: str, port: int, flags: int) -> Sequence[_Address]:
    """Raises socket.gaierror, UnicodeError."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | flags)


def _bound(host: str, addresses: Sequence[_Address]) -> socket.socket:
    """At the first of them that can be had. Raises OSError."""
    refused = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, kind, protocol, _, address in addresses:
        listening = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a predecessor linger
            listening.bind(address)
            listening.listen(_BACKLOG)
            return listening
        except OSError as error:
            listening.close()
            refused = error  # a name may lead to an address of a kind that this machine has not
    raise refused
