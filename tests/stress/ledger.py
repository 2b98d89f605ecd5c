"""What each process of the stress test says it did, in memory that outlives its SIGKILL.

One append-only list of words per process, in an anonymous file that the parent keeps, after two words that count
entries and answers. An entry is
kind 4 bits | name of an instance 16 | slot 12 | generation 32; slot and generation together name one request, since a
re-dispatch keeps the generation.
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

ENTRIES = 1 << 23
_WORDS = 2 + ENTRIES


class Entry(IntEnum):
    """What happened to a request. "Before" and "after" are meant to the store, because a kill may fall between."""

    SUBMITTED = 1  # producer, after READY
    ANSWERED = 2  # producer, after it checked the answer
    ABANDONED = 3  # producer, before `cancel`
    REDISPATCHED = 4  # producer, before READY again, with the name of the dead
    CONVICTED = 5  # producer, before the verdict, with the name of the dead
    CHOSEN = 6  # consumer, before LEASED
    LEASED = 7  # consumer, after LEASED
    REPLYING = 8  # consumer, before REPLIED


class Ledger:
    """One process's list. The writer's side and the parent's."""

    def __init__(self, fd: int) -> None:
        """Maps the list behind `fd`, which stays the caller's."""
        mapping = mmap.mmap(fd, 8 * _WORDS)
        self._words = memoryview(mapping).cast("Q")
        self._count: int = self._words[0]

    @staticmethod
    def new_file() -> int:
        """Descriptor of an empty list. Sparse: it takes memory as it grows."""
        fd = os.memfd_create("stress-ledger", os.MFD_CLOEXEC)
        os.ftruncate(fd, 8 * _WORDS)
        return fd

    def add(self, kind: int, slot: int, generation: int, name: int = 0) -> None:
        """Appends; the entry counts once the length is stored."""
        self._words[2 + self._count] = kind << 60 | name << 44 | slot << 32 | generation
        self._count += 1
        self._words[0] = self._count
        if kind == Entry.ANSWERED:
            self._words[1] += 1

    @property
    def length(self) -> int:
        """Entries so far, as the writer's process says."""
        return int(self._words[0])

    @property
    def answers(self) -> int:
        """ANSWERED entries so far."""
        return int(self._words[1])

    def entries(self) -> NDArray[np.uint64]:
        """A copy of all entries, `[length]`."""
        return np.array(self._words[2 : 2 + self.length], dtype=np.uint64)


def of_kind(entries: NDArray[np.uint64], kind: Entry) -> NDArray[np.uint64]:
    """Those of one kind."""
    found: NDArray[np.uint64] = entries[entries >> np.uint64(60) == np.uint64(kind)]
    return found


def keys(entries: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Slot and generation of each: which request it is about."""
    return entries & np.uint64((1 << 44) - 1)


def names(entries: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The name in each entry."""
    found: NDArray[np.uint64] = (entries >> np.uint64(44)) & np.uint64(0xFFFF)
    return found
