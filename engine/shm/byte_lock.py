"""Locks on single bytes of a file: who has one is asked of the kernel, and no death leaves one behind.

They are locks of an open file description (F_OFD_SETLK), on one of this process's own: the kernel gives them back when
its last descriptor is gone, by SIGKILL too. A byte needs no room in the file: any offset up to LAST_OFFSET will do.
The locks of one `ByteLocks` do not exclude each other; whoever shares one keeps a list of its own.
"""

from __future__ import annotations

import fcntl
import os
import struct

from engine.errors import InternalError
from engine.shm.forked import not_for_children

LAST_OFFSET = (1 << 63) - 2
_FLOCK = struct.Struct("hh4xqqi4x")  # struct flock of x86-64: type, whence, start, length, pid
_TAKEN = (BlockingIOError, PermissionError)  # EAGAIN or EACCES, as POSIX leaves open


class ByteLocks:
    """The locks of one process on one file. Thread-safe; nothing waits."""

    def __init__(self, fd: int) -> None:
        """Opens the file anew; `fd` stays the caller's. Raises OSError if that cannot be (no descriptor left)."""
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        not_for_children(self)

    def try_lock(self, offset: int) -> bool:
        """Takes the byte unless another description has it."""
        try:
            self._set(fcntl.F_WRLCK, offset)
        except _TAKEN:
            return False
        return True

    def unlock(self, offset: int) -> None:
        """Gives the byte back; nothing if it was not taken, or in a forked child."""
        if self._fd >= 0:
            self._set(fcntl.F_UNLCK, offset)

    def taken_elsewhere(self, offset: int, count: int = 1) -> bool:
        """Whether another description has any of `count` bytes from `offset` on."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, count, 0)
        found = fcntl.fcntl(self._checked(), fcntl.F_OFD_GETLK, asked)
        return int(_FLOCK.unpack(found)[0]) != fcntl.F_UNLCK

    def fileno(self) -> int:
        """The descriptor of the file that the locks are on. Raises InternalError once closed."""
        return self._checked()

    def close(self) -> None:
        """Gives everything back. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def let_go_in_child(self) -> None:
        """Closing a copy of the descriptor gives nothing back: the parent has its locks still."""
        self.close()

    def _set(self, kind: int, offset: int) -> None:
        fcntl.fcntl(self._checked(), fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))

    def _checked(self) -> int:
        if self._fd < 0:
            raise InternalError("these locks are closed, or another process's")
        return self._fd
