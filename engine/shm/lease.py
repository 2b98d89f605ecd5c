"""The right to move slots out of READY: the only lock between processes on the data path.

`flock` on an open file description of one's own, because the kernel releases it when the last descriptor of it is gone,
by SIGKILL too. A child forked without exec shares the description and would keep the lock after its parent's death: its
descriptor is closed before it runs (`forked`). Only a fork behind Python's back remains forbidden.

flock excludes descriptions, not threads: the threads of one process exclude each other by a local lock around it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time

from engine.clock import Deadline
from engine.errors import InternalError
from engine.shm.forked import not_for_children

_POLL_S = 0.0005  # arbitrary; the lease is held for some ten microseconds


class Lease:
    """One process's handle on the lease of one segment. Thread-safe, not re-entrant."""

    def __init__(self, segment_fd: int) -> None:
        """Opens the segment anew; `segment_fd` stays the caller's."""
        self._fd = os.open(f"/proc/self/fd/{segment_fd}", os.O_RDWR | os.O_CLOEXEC)
        self._local = threading.Lock()
        not_for_children(self)

    def acquire(self) -> None:
        """Waits for the lease, for as long as its holder lives and keeps it."""
        self._check_open()
        self._local.acquire()
        held = False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            held = True
        finally:
            if not held:
                self._local.release()

    def try_acquire(self) -> bool:
        """Takes the lease if nobody has it; never blocks."""
        self._check_open()
        if not self._local.acquire(blocking=False):
            return False
        held = False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            pass  # somebody else has it
        finally:
            if not held:
                self._local.release()
        return held

    def acquire_within(self, timeout_s: float) -> bool:
        """Takes the lease unless it stays busy for `timeout_s`: for those who must not wait on a holder that hangs."""
        deadline = Deadline.after_s(timeout_s)
        while not self.try_acquire():
            if deadline.expired:
                return False
            time.sleep(_POLL_S)
        return True

    def release(self) -> None:
        """Only by who acquired it. In a child forked meanwhile nothing: the lock is its parent's."""
        if self._fd < 0:
            return
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._local.release()

    def __enter__(self) -> Lease:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def close(self) -> None:
        """Releases the lease if it is held. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def let_go_in_child(self) -> None:
        """Closing a copy of the descriptor releases nothing: the parent may hold the lease, and goes on holding it."""
        self._local = threading.Lock()
        self.close()

    def _check_open(self) -> None:
        if self._fd < 0:
            raise InternalError("this lease is closed, or another process's")
