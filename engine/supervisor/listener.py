"""The control socket, on which everybody meets the supervisor."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from engine.errors import ProtocolError
from engine.messages import Connection, socket_path
from engine.supervisor.loop import Loop
from engine.supervisor.peer import Peer
from engine.supervisor.socket_file import SocketFile

_BACKLOG = 256

_log = logging.getLogger(__name__)


class Listener:
    """Accepts connections and hands each over as a `Peer`, which then begins to read."""

    def __init__(self, loop: Loop, runtime_dir: Path, on_peer: Callable[[Peer], None]) -> None:
        """Listens at once. Raises OSError."""
        self._loop = loop
        self._on_peer = on_peer
        self._file = SocketFile(Path(socket_path(runtime_dir)), socket.SOCK_SEQPACKET, _BACKLOG)
        self._socket = self._file.listen()
        self._arrived: Peer | None = None  # and is not yet known to anybody
        loop.watch(self._socket.fileno(), self._accept)

    def keep(self) -> None:
        """Listens anew under the same name if that was removed, or is another file's. Raises OSError."""
        if self._file.is_in_place:
            return
        with contextlib.ExitStack() as undo:
            fresh = self._file.listen()
            undo.callback(fresh.close)
            undo.callback(self._file.remove)  # nobody would ever accept there
            self._loop.watch(fresh.fileno(), self._accept)
            undo.pop_all()
        self._loop.attempt(self._accept)  # whoever stands in the old backlog
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        self._socket = fresh

    def close(self) -> None:
        """Nobody can connect any more; the name is gone, unless it is another's by now. Idempotent."""
        if self._socket.fileno() < 0:
            return
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        if self._arrived is not None:
            self._arrived.close()
        self._file.remove()

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
