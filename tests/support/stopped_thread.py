"""Stops one thread of another process, as a disk that hangs would: the process itself goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17  # ptrace(2)
_WALL = 0x40000000  # waitpid: threads too


@contextlib.contextmanager
def stopped(tid: int) -> Iterator[None]:
    """The thread does not run inside `with`. For a thread of a child of this process, from one thread of ours."""
    _ptrace(_SEIZE, tid)
    _ptrace(_INTERRUPT, tid)
    os.waitpid(tid, _WALL)
    try:
        yield
    finally:
        _ptrace(_DETACH, tid)


def _ptrace(request: int, tid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, tid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of thread {tid}")
