"""The right to try one model: flock's, so that it is gone with its holder however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from engine.clock import Deadline

_ASK_EVERY_S = 0.2  # flock knows no time-out; whoever waits here waits for minutes


class TuningLock:
    """Held until `release`, or until this process and all that inherited the descriptor are dead."""

    def __init__(self, path: Path, fd: int) -> None:
        """For `take`."""
        self._path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path, *, limit_s: float) -> TuningLock | None:
        """The lock, asked for at least once; None if others have it for longer. Raises OSError without a file."""
        deadline = Deadline.after_s(limit_s)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if _try_lock(fd, path):
                return cls(path, fd)
            os.close(fd)
            if deadline.expired:
                return None
            time.sleep(min(_ASK_EVERY_S, deadline.remaining_s()))

    def release(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Gives it back and removes its file, while nobody else can have it."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.release()


def _try_lock(fd: int, path: Path) -> bool:
    """Whether the lock is ours, of the file that has this name: one that was removed keeps nobody out."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # no locks on this file system
        os.close(fd)
        raise
