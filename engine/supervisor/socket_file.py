"""A Unix socket under a name in the runtime directory, which somebody may remove at any moment."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path


class SocketFile:
    """The name of one listening socket. It appears by rename, so that whoever finds it can connect."""

    def __init__(self, path: Path, kind: socket.SocketKind, backlog: int) -> None:
        """`kind`: SOCK_STREAM or SOCK_SEQPACKET."""
        self._path = path
        self._kind = kind
        self._backlog = backlog
        self._file_id: tuple[int, int] | None = None  # device and inode of what `listen` has made

    def listen(self) -> socket.socket:
        """A socket that listens under the name, in place of any file of that name, for this user alone (0600).

        It is the caller's. Raises OSError.
        """
        fresh = Path(f"{self._path}.new")
        with contextlib.ExitStack() as undo:
            listening = undo.enter_context(socket.socket(socket.AF_UNIX, self._kind | socket.SOCK_NONBLOCK))
            fresh.unlink(missing_ok=True)
            listening.bind(str(fresh))
            fresh.chmod(0o600)
            listening.listen(self._backlog)
            fresh.rename(self._path)
            undo.pop_all()
        self._file_id = self._found()
        return listening

    @property
    def is_in_place(self) -> bool:
        """Whether the name is still that of what `listen` has made last. Raises OSError."""
        return self._file_id is not None and self._found() == self._file_id

    def remove(self) -> None:
        """The name is gone, unless it is another's by now."""
        with contextlib.suppress(OSError):
            if self.is_in_place:
                self._path.unlink()

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino
