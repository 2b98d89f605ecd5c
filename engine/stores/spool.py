"""The writing side of the journal: each process appends its records to a file of its own.

`state_dir/spool/RANDOM.spool` holds records (`journal_record.py`), one behind the other. Whoever writes it holds flock
on it, on a description that no other process has, for as long as it may append: a file that can be locked is complete.
So nobody needs to be told of a spool, and it survives the death of everybody.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import secrets
import threading
from pathlib import Path
from typing import Protocol

from engine.clock import NS_PER_S, now_ns, wall_clock_s
from engine.crash_points import reach
from engine.shm.forked import not_for_children
from engine.stores.journal_record import JournalRow, encode

SUFFIX = ".spool"
ROTATE_BYTES = 8 << 20  # arbitrary: what is read is given back to the disk file by file

_RETRY_S = 0.5  # after a file could not be made
_LOOK_S = 1.0  # between looks at whether the file is still where it can be found
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

_LOG = logging.getLogger(__name__)


class Counting(Protocol):
    """Where a process counts."""

    def add(self, name: str, n: int = 1) -> None:
        """One of PROCESS_COUNTERS."""

    def set(self, name: str, value: int) -> None:
        """One of PROCESS_GAUGES."""


def spool_dir(state_dir: Path) -> Path:
    """Where the spools of a journal lie."""
    return state_dir / "spool"


def spooled_bytes(folder: Path) -> int:
    """What all spools together take. Raises OSError if there is no folder."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # moved and removed this moment
                total += entry.stat(follow_symlinks=False).st_size
    return total


class JournalWriter:
    """Appends what this process answers; for any thread. Never raises: what is not written is counted and told once.

    Sole mutators of the file and its size: `record`, under the lock, and `let_go_in_child`.
    """

    def __init__(
        self, state_dir: Path, counting: Counting, *, max_bytes: int, rotate_bytes: int = ROTATE_BYTES
    ) -> None:
        """`max_bytes`: of all spools of the folder; beyond that nobody moves them, and records are lost."""
        self._folder = spool_dir(state_dir)
        self._counting = counting
        self._max_bytes = max_bytes
        self._rotate_bytes = rotate_bytes
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._fd = -1
        self._path = self._folder
        self._size = 0
        self._look_at = 0.0  # s since 1970
        self._retry_at_ns = 0
        self._failing = False

    def next_key(self) -> tuple[float, str]:
        """For a row: when it is made, in seconds since 1970 to the microsecond, which every database keeps; and 32
        hexadecimal digits that no other row has."""
        return int(wall_clock_s() * 1e6) / 1e6, f"{self._prefix}{next(self._numbers):016x}"

    def record(self, row: JournalRow) -> bool:
        """Whether the row is written, and so survives this process."""
        record = encode(row)
        with self._lock:
            try:
                self._append(record, row.answered_at)
            except OSError as error:
                self._failed(error)
                return False
        if self._failing:
            self._healed()
        self._counting.add("journal.recorded")
        return True

    def close(self) -> None:
        """Ends the file: whoever moves it finds it complete. Idempotent; a later `record` begins another."""
        with self._lock:
            self._close_file()

    def let_go_in_child(self) -> None:
        """The parent goes on writing its file; a child that records begins its own."""
        if self._fd >= 0:
            os.close(self._fd)
        self._begin()

    # --- the file: the caller holds the lock ------------------------------------------------------------------------

    def _append(self, record: bytes, at_s: float) -> None:
        if self._fd < 0:
            self._open_file()
        elif self._size >= self._rotate_bytes or (at_s >= self._look_at and self._is_removed(at_s)):
            self._close_file()
            self._open_file()
        try:
            self._write(record)
        except OSError:
            if not self._size:
                raise
            # It may be this file alone that takes no more.
            self._close_file()
            self._open_file()
            self._write(record)

    def _write(self, record: bytes) -> None:
        """All of it, or nothing."""
        written = os.write(self._fd, record)
        if written < len(record):
            os.ftruncate(self._fd, self._size)  # what is there of it would look like damage
            raise OSError(errno.ENOSPC, f"{len(record) - written} bytes of a record were not written")
        self._size += written

    def _open_file(self) -> None:
        if self._retry_at_ns and now_ns() < self._retry_at_ns:
            raise OSError(errno.EAGAIN, "no spool just now")
        self._retry_at_ns = now_ns() + int(_RETRY_S * NS_PER_S)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if spooled_bytes(self._folder) >= self._max_bytes:
            raise OSError(errno.EDQUOT, f"{self._max_bytes} bytes of spools wait to be moved")
        while self._fd < 0:
            self._fd = self._new_file()
        self._retry_at_ns = self._size = 0
        self._look_at = 0.0
        not_for_children(self)

    def _new_file(self) -> int:
        """The descriptor of a file that is ours; -1 if it was taken for one of somebody dead before it was locked."""
        self._path = self._folder / f"{secrets.token_hex(16)}{SUFFIX}"
        fd = os.open(self._path, _FLAGS, 0o600)
        reach("spool.made")
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)
        return -1

    def _is_removed(self, at_s: float) -> bool:
        self._look_at = at_s + _LOOK_S
        if os.fstat(self._fd).st_nlink:
            return False
        _LOG.warning("journal: %s was removed; what was in it and not yet moved is lost", self._path)
        return True

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # --- telling ----------------------------------------------------------------------------------------------------

    def _failed(self, error: OSError) -> None:
        self._counting.add("journal.lost")
        if not self._failing:
            self._failing = True
            self._counting.set("journal.failing", 1)
            _LOG.warning("journal: %s: %s; rows are lost until that is over", self._folder, error)

    def _healed(self) -> None:
        self._failing = False
        self._counting.set("journal.failing", 0)
        _LOG.info("journal: rows are written again")
