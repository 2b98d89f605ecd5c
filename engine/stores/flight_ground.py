"""What the processes of the machine know of each other's computations: kernel locks, and what is left in L1.

Whoever leads for a key at a level holds a lock on a byte far beyond the end of the machine segment. Each key has four
bytes of its own there, by 60 bits of it; of these the first three stand for the levels, the lowest first. Two keys with
the same 60 bits wait for each other in vain, and then compute.

A leader that fails, or has nothing to share, leaves that in L1 for those who wait, as a record of a kind of its own.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.clock import now_ns, wall_clock_s
from engine.core.aging import LEVELS
from engine.errors import EngineError, error_of
from engine.shm.byte_lock import ByteLocks
from engine.shm.cache_record import CacheRecord, RecordKind
from engine.shm.l1 import L1

LEFT_MS = 2000  # so long lies there what was left: many looks of everybody who waits

_BEYOND = 1 << 62  # farther than any segment reaches
_ROWS = sorted(LEVELS)
_MOMENT_BYTES = 8


class Left(NamedTuple):
    """What a leader has left for those who waited already."""

    outcome: CacheRecord | EngineError | None  # None: each has to compute by itself
    at_ns: int | None  # monotonic; None: for whoever comes, too


class FlightGround:
    """One process's view of it. Thread-safe; nothing waits."""

    def __init__(self, machine_fd: int, l1: L1) -> None:
        """Both stay the caller's. Raises OSError."""
        self._l1 = l1
        self._locks = ByteLocks(machine_fd)

    def try_lead(self, key: bytes, level: int) -> bool:
        """Leads unless another process does at this level or above."""
        at = byte_of(key, level)
        try:
            if not self._locks.try_lock(at):
                return False
            if self._is_taken_from(at + 1, key):  # only now: whoever came in between finds this one's lock
                self._locks.unlock(at)
                return False
        except OSError:  # the kernel has no more locks: rather computed twice than not at all
            pass
        return True

    def is_led(self, key: bytes, level: int) -> bool:
        """Whether another process leads at this level or above."""
        try:
            return self._is_taken_from(byte_of(key, level), key)
        except OSError:  # as above
            return False

    def give_up(self, key: bytes, level: int) -> None:
        """Leads no longer. What is to be found in L1 must be there by now: then it is looked for."""
        self._locks.unlock(byte_of(key, level))

    def answer(self, key: bytes) -> CacheRecord | None:
        """What L1 has."""
        return self._l1.get(key)

    def leave_error(self, key: bytes, error: EngineError) -> None:
        """So that those who wait fail in the same way. Where it cannot be kept, they lead one after the other."""
        self._leave(key, f"{error.code}\0{error}".encode(errors="replace"), RecordKind.ERROR)

    def leave_apart(self, key: bytes) -> None:
        """So that those who wait compute at once, each by itself. Where it cannot be kept: as above."""
        self._leave(key, b"", RecordKind.APART)

    def what_is_left(self, key: bytes) -> Left | None:
        """None: nothing."""
        if (record := self._l1.get(key)) is not None:
            return Left(record, None)
        if (record := self._l1.get(key, RecordKind.ERROR)) is not None:
            code, _, text = record.value[_MOMENT_BYTES:].decode(errors="replace").partition("\0")
            return Left(error_of(code, text), _moment_of(record))
        if (record := self._l1.get(key, RecordKind.APART)) is not None:
            return Left(None, _moment_of(record))
        return None

    def close(self) -> None:
        """Leads nowhere any more."""
        self._locks.close()

    def _leave(self, key: bytes, value: bytes, kind: RecordKind) -> None:
        # With the moment beside it: two who come within a millisecond, one before and one after, differ.
        moment = now_ns().to_bytes(_MOMENT_BYTES, "little")
        self._l1.put(key, moment + value, int(wall_clock_s() * 1000) + LEFT_MS, kind)

    def _is_taken_from(self, at: int, key: bytes) -> bool:
        beyond = byte_of(key, _ROWS[-1]) + 1
        return at < beyond and self._locks.taken_elsewhere(at, beyond - at)


def byte_of(key: bytes, level: int) -> int:
    """The offset whose lock says that somebody leads for this key at this level."""
    return _BEYOND | int.from_bytes(key[:8], "little") >> 4 << 2 | _ROWS.index(level)


def _moment_of(record: CacheRecord) -> int:
    return int.from_bytes(record.value[:_MOMENT_BYTES], "little")
