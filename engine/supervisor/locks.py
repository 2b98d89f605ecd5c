"""Lock files: at most one keeper, one supervisor, one reassignment of lanes at a time in a runtime directory.

The lock is flock's, so that it is gone with its holder however that ends; the text of the file says who the holder is.
The text may be older than the lock: a holder counts only while the process it names lives.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.supervisor.identity import Identity

SUPERVISOR_LOCK = "supervisor.lock"
KEEPER_LOCK = "keeper.lock"


@dataclass(frozen=True, slots=True)
class Holder:
    """What a lock file says. `embedded`: started by a keeper, which may also end it."""

    pid: int
    start_ticks: int
    embedded: bool = False

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.start_ticks)


class LockFile:
    """A lock that this process holds until `release`, or until it dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def try_take(cls, path: Path, *, embedded: bool = False) -> LockFile | None:
        """The lock, with this process named in it; None if another one has it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        own = Identity.of(os.getpid())
        _rewrite(fd, json.dumps(asdict(Holder(own.pid, own.start_ticks, embedded))).encode())
        return cls(fd)

    def release(self) -> None:
        """Gives the lock back and takes the name out of the file. Idempotent."""
        if self._fd >= 0:
            _rewrite(self._fd, b"")
            os.close(self._fd)
            self._fd = -1


def last_holder(path: Path) -> Holder | None:
    """Who held the lock last and did not give it back; perhaps dead. None if there is nobody to name."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # no file yet, empty, or being rewritten this moment
        return None


def living_holder(path: Path) -> Holder | None:
    """Who holds the lock and lives, or None."""
    holder = last_holder(path)
    return holder if holder is not None and holder.identity.is_living else None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for the lock and holds it for a moment. Only around steps that cannot hang."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _rewrite(fd: int, content: bytes) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)
