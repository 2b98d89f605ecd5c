"""Lock files: at most one keeper, one supervisor, one reassignment of lanes at a time in a runtime directory.

The lock is flock's, so that it is gone with its holder however that ends; the text of the file says who the holder is.
The text may be older than the lock: a holder counts only while the process it names lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.errors import SupervisorRunning
from engine.launch.identity import Identity

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

    def __init__(self, path: Path, fd: int, holder: Holder) -> None:
        """For `try_take`."""
        self._path = path
        self._fd = fd
        self._holder = holder

    @classmethod
    def try_take(cls, path: Path, *, embedded: bool = False) -> LockFile | None:
        """The lock, with this process named in it; None if another one has it. Raises OSError if it cannot be made.

        Should there be no room for the name, the lock is held all the same: see `keep`.
        """
        own = Identity.of(os.getpid())
        holder = Holder(own.pid, own.start_ticks, embedded)
        fd = _try_lock(path)
        if fd is None:
            return None
        lock = cls(path, fd, holder)
        with contextlib.suppress(OSError):
            lock._write_name()
        return lock

    def keep(self) -> None:
        """Takes the lock anew if its file was removed, and writes the name in it if it is not there.

        Raises SupervisorRunning if somebody else has taken it meanwhile, OSError if it cannot be made.
        """
        if not is_file_at(self._fd, self._path):
            fd = _try_lock(self._path)
            if fd is None:
                raise SupervisorRunning(f"{self._path} was removed, and another process has it now")
            os.close(self._fd)
            self._fd = fd
        if last_holder(self._path) != self._holder:
            self._write_name()

    def release(self) -> None:
        """Gives the lock back and takes the name out of the file. Idempotent."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def _write_name(self) -> None:
        """Over what is there, so that on a full disk a file that had room for a name still has."""
        content = json.dumps(asdict(self._holder)).encode()
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))


class StepLock:
    """A lock around steps that cannot hang. Its file stays open, so that it can be taken when that has been removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Waits for the lock and holds it for a moment. Raises OSError if there is no file and none can be made."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def last_holder(path: Path) -> Holder | None:
    """Who held the lock last and did not give it back; perhaps dead. None if there is nobody to name."""
    try:
        holder = Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):  # no file yet, empty, or being rewritten this moment
        return None
    return holder if isinstance(holder.pid, int) and isinstance(holder.start_ticks, int) else None


def living_holder(path: Path) -> Holder | None:
    """Who holds the lock and lives, or None."""
    holder = last_holder(path)
    return holder if holder is not None and holder.identity.is_living else None


def was_released(path: Path) -> bool:
    """Whether the last holder gave the lock back in order: a killed one leaves its name, a cleaner no file."""
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def hidden_holder(path: Path) -> int:
    """Pid of a process that holds this lock by a file that was removed since, 0 if there is none.

    Whoever makes the file again gets the lock of it, and must still not run beside that process.
    """
    gone = f"{os.path.realpath(path)} (deleted)"
    for pid in _lock_holders():
        if pid != os.getpid() and gone in _open_files(pid):
            return pid
    return 0


def is_file_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        named = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(os.fstat(fd), named)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for the lock and holds it for a moment. Only around steps that cannot hang."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    """The open, locked file; None if another process has the lock of the file that is there."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _lock_holders() -> set[int]:
    """Pids of all processes that hold a file lock (proc(5)), and -1 for those of another namespace."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    fields = (line.split() for line in lines)
    return {int(each[4]) for each in fields if len(each) > 4 and each[1] == "FLOCK"}


def _open_files(pid: int) -> set[str]:
    """What the descriptors of a process of ours stand for; nothing if it is another user's, or gone."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return found
