"""Memory of a model's intermediate results, kept from one batch to the next.

glibc takes every large block from the kernel and gives it back when it is freed. A batch of eight through a ResNet18
then faults in some 17,000 fresh pages each time: 7 % of its time on a CPU (`benchmarks/README.md`). An instance
runs the same shapes for as long as it lives, so it keeps what it has once needed.

What is kept must not be in pieces that no batch fits into. They come about where something small that stays, such as
what oneDNN remembers of a batch size, is allocated while the large blocks of a batch lie around it. So large blocks lie
apart, outside the heap, until every size has been met (`warmup.py`): some 50 MB of an instance with a ResNet18.
"""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1  # the largest threshold that fits the call's int, in bytes
_LARGE_BYTES = 1 << 20  # arbitrary: above what libraries remember, below what a batch of a model worth keeping needs


def large_blocks_apart() -> bool:
    """Keeps large blocks out of the heap, each by itself, until `keep_freed_memory`. False where that cannot be done.

    Left alone, glibc moves them into the heap as soon as one has been freed. Call before the model is loaded.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))


def keep_freed_memory() -> bool:
    """Lets memory that is freed from here on stay with the process. False where the C library cannot.

    Call when the model is loaded: what loading has freed goes back first.
    """
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:  # not glibc
        return False
    libc.malloc_trim(0)
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
