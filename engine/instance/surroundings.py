"""What foreign code finds around it in an instance, and what is put right again after it has run.

A model's module is imported and its factory called in this process. Neither may see our command line, keep what it
prints to itself, or leave the process without the few things that the instance itself stands on. What only the model
needs (working directory, environment, torch's default type and device) stays as the model left it.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import io
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

PROGRAM_NAME = "nightscan-instance"

_LINE_BUFFERED = 1  # _IOLBF of glibc's stdio.h
_OUT, _ERR = 1, 2
_GIVES_WAY = 2  # steps of niceness: two thirds of the share that a frontend gets, where both want a core


class Surroundings:
    """Of one instance. `prepare` before the first foreign code, `restore` after each stage of it."""

    def __init__(self) -> None:
        self._spare_fds: dict[int, int] = {}

    def prepare(self) -> None:
        """An empty command line, output line by line, and a stack in the log for a crash in native code."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.argv[:] = [PROGRAM_NAME]
        sys.orig_argv[:] = [PROGRAM_NAME]
        os.environ["PYTHONUNBUFFERED"] = "1"  # for interpreters that a model starts
        self._spare_fds = {fd: os.dup(fd) for fd in (_OUT, _ERR) if _is_open(fd)}
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # there is no standard error
            faulthandler.enable()
        sys.stdout, sys.stderr = _stream(_OUT), _stream(_ERR)
        # Weights that are drawn when a model is made must be the same in every instance, today and after a restart.
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        libc = ctypes.CDLL(None)
        with contextlib.suppress(ValueError, AttributeError):  # not glibc
            libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, ctypes.c_size_t(0))

    def restore(self, *, threads: int) -> None:
        """Whatever was closed, replaced or reset of what the instance stands on."""
        for fd, spare in self._spare_fds.items():
            if not _is_open(fd):  # the next descriptor opened would get this number, and what a model prints
                os.dup2(spare, fd)
        if _is_closed(sys.stdout):
            sys.stdout = _stream(_OUT)
        if _is_closed(sys.stderr):
            sys.stderr = _stream(_ERR)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.0)  # an alarm for the time of loading must not end the serving
        np.seterr(all="warn", under="ignore")
        torch.set_num_threads(threads)

    def settle(self) -> None:
        """Before the work: what is there now stays, so the collector need not look at it again.

        A full collection over everything that torch and a model bring takes more than 50 ms, in which nothing is
        computed.
        """
        gc.collect()
        gc.freeze()


class _Outlet(io.FileIO):
    """A descriptor that takes everything: a log that is full or that nobody reads is no reason to fail a request."""

    def write(self, content: Any, /) -> int:
        with contextlib.suppress(OSError):
            return super().write(content) or len(memoryview(content))
        return len(memoryview(content))


def _stream(fd: int) -> io.TextIOWrapper:
    """Text to a descriptor, line by line."""
    raw: io.BufferedWriter[Any] = io.BufferedWriter(_Outlet(fd, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def give_way() -> None:
    """Lets frontends go first where both want a core: what they do is short, and a batch grows meanwhile.

    An instance runs in a session of its own, and on desktops and in containers Linux shares the cores out by session
    (sched(7), "The autogroup feature"): two frontends would get together what one instance gets, so that requests wait
    in the slower frontend's socket and the slowest hundredth takes a third longer. There the niceness of a process
    means nothing to other sessions; that of the session does.
    """
    os.nice(_GIVES_WAY)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # this kernel does not group by session
            Path("/proc/self/autogroup").write_text(str(_GIVES_WAY))


def leave(code: int) -> NoReturn:
    """Ends the process at once, whatever threads and children a model has started; what was printed is not lost."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, replaced by anything, or nobody reads it any more
            stream.flush()
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).fflush(None)
    if os.getsid(0) == os.getpid():  # started as instances are: everything in the group came from the model
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(os.getpid(), signal.SIGTERM)
    os._exit(code)


def _is_closed(stream: object) -> bool:
    """Whether nothing can be printed to it; what a model has put in its place may be no file at all."""
    return stream is None or bool(getattr(stream, "closed", False))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
