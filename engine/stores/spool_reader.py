"""The reading side of the spools: records from where the last reading ended, and which files are complete.

Nothing here remembers anything: how far a file has been read stands where its records went, in one transaction.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from engine.stores.journal_record import HEAD_BYTES, MAX_BODY_BYTES, StoredRecord, scan, time_of
from engine.stores.spool import SUFFIX

PIECE_BYTES = 2 << 20
_WHOLE_BYTES = 2 * (HEAD_BYTES + MAX_BODY_BYTES)  # has the end of every record that begins in its first half


class SpoolFile(NamedTuple):
    """A spool as it lies there."""

    name: str
    size: int  # bytes


class Piece(NamedTuple):
    """What one reading found."""

    records: list[StoredRecord]
    end: int  # offset in the file where the next one begins
    damaged: int  # places


class SpoolReader:
    """Reads the spools of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> list[SpoolFile]:
        """All spools that there are, those that have waited longest first. None where there is no folder."""
        found: list[tuple[int, SpoolFile]] = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with contextlib.suppress(FileNotFoundError):  # another one removed it
                        seen = entry.stat(follow_symlinks=False)
                        found.append((seen.st_mtime_ns, SpoolFile(entry.name, seen.st_size)))
        return [file for _, file in sorted(found)]

    def read(self, name: str, offset: int, most_bytes: int = PIECE_BYTES) -> Piece:
        """Complete records from `offset` on, of `most_bytes` at most, but one however long it is. Raises OSError."""
        with open(self._folder / name, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), most_bytes, offset)
            records, used, damaged = scan(data)
            if not used and len(data) == most_bytes < _WHOLE_BYTES:
                records, used, damaged = scan(os.pread(file.fileno(), _WHOLE_BYTES, offset))
        return Piece(records, offset + used, damaged)

    def oldest_s(self, name: str, offset: int) -> float:
        """When the record at `offset` was made, in seconds since 1970; 0.0 if none is there. Raises OSError."""
        with open(self._folder / name, "rb", buffering=0) as file:
            return time_of(os.pread(file.fileno(), HEAD_BYTES, offset))

    @contextmanager
    def complete(self, name: str) -> Iterator[int]:
        """The size of a file whose owner is done with it, which stays so for the block; -1 where it is not."""
        fd = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield os.fstat(fd).st_size if _try_lock(fd) else -1
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Of a file that is complete and stored elsewhere. Nothing happens if it is gone. Raises OSError."""
        (self._folder / name).unlink(missing_ok=True)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
