"""Lets the memory of long bodies go back to the system as soon as it is freed.

glibc's allocator learns: once a block of some megabytes was freed, it takes the next ones from its heap, and keeps them
when they are freed in turn. After a crowd of uploads a frontend would hold hundreds of megabytes that nobody uses.
"""

from __future__ import annotations

import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_LONG_BLOCK_BYTES = 1024 * 1024  # from here on a block is mapped by itself, and unmapped with its last use
_FREE_HEAP_BYTES = 4 * 1024 * 1024  # at the end of the heap: what is more goes back


def give_memory_back() -> None:
    """Fixes both thresholds of this process. Another C library than glibc is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LONG_BLOCK_BYTES)
        mallopt(_TRIM_THRESHOLD, _FREE_HEAP_BYTES)


def settle() -> None:
    """What is there now stays, so the collector need not look at it again.

    A full collection over everything that an application imports takes some tens of milliseconds, in which no request
    of this process moves. None is made here either: it would write into every page that is shared with the master, and
    each frontend would hold its own copy of them.
    """
    gc.freeze()
