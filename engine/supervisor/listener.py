"""The control socket: its name appears by rename, so that whoever finds it can connect."""

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

_BACKLOG = 256

_log = logging.getLogger(__name__)


class Listener:
    """Accepts connections and hands each over as a `Peer`, which then begins to read."""

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
    with contextlib.ExitStack() as undo:
        listening = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK))
        fresh.unlink(missing_ok=True)
        listening.bind(str(fresh))
        fresh.chmod(0o600)
        listening.listen(_BACKLOG)
        fresh.rename(path)
        undo.pop_all()
    return listening


def _file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file that has this name; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
