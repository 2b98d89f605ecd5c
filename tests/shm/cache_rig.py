"""A cache of its own for a test, with as many processes' ways into it as it likes."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections import Counter
from collections.abc import Iterator

from engine.shm.l1 import L1, prepare_cache

MB = 1 << 20
AT = 4096  # the cache does not begin at the beginning of its file


def in_ms(after_s: float) -> int:
    """That moment of the wall clock, in milliseconds."""
    return int((time.time() + after_s) * 1000)


def key_of(number: int) -> bytes:
    """A key as good as any: all of its bytes depend on the number."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95 + 1).to_bytes(64, "little")[:32]


def mapped(fd: int) -> memoryview:
    """The memory of the cache, in this process."""
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size))[AT:]


class CacheRig:
    """One file with a cache in it."""

    def __init__(self, size: int = MB, writers: int = 2) -> None:
        self.fd = os.memfd_create("test-cache")
        os.ftruncate(self.fd, AT + size)
        self.area = mapped(self.fd)
        self.made = prepare_cache(self.fd, AT, self.area, writers)
        self.counted: Counter[str] = Counter()
        self._open: list[L1] = []

    def enter(self) -> L1:
        """Another way in, as of another process: descriptions of its own."""
        way = L1(self.fd, AT, self.area, self.count)
        self._open.append(way)
        return way

    def count(self, name: str, n: int) -> None:
        self.counted[name] += n

    def close(self) -> None:
        for way in self._open:
            way.close()
        self.area.release()
        os.close(self.fd)


@contextlib.contextmanager
def cache_rig(size: int = MB, writers: int = 2) -> Iterator[CacheRig]:
    """The file, and everything opened on it closed again."""
    rig = CacheRig(size, writers)
    try:
        yield rig
    finally:
        rig.close()
