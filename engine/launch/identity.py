"""Who a process is (pid and start time), and whether it lives (its pidfd).

A pid alone names nobody: it is given again. A pidfd names one process for ever, becomes readable when that process is
dead, and nothing else counts as death.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from engine.messages import process_start_ticks


_MOST_PIDS = 1 << 31
_NOBODY = (errno.ESRCH, errno.EINVAL)  # no such process; the pid is now a thread's


@dataclass(frozen=True, slots=True)
class Identity:
    """One process of this boot, whether it lives or not."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The process that has this pid now; start_ticks 0 if there is none."""
        return cls(pid, process_start_ticks(pid))

    def open_pidfd(self) -> int | None:
        """A pidfd of this very process, or None if it is dead. The caller owns it.

        Raises OSError if that cannot be found out just now: whoever is taken for dead loses what it has.
        """
        if not 0 < self.pid < _MOST_PIDS or self.start_ticks <= 0:
            return None
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            if error.errno in _NOBODY:
                return None
            raise
        # The pidfd first, the comparison after it: the other way round the pid could change hands in between.
        try:
            same = process_start_ticks(self.pid) == self.start_ticks and not is_dead(pidfd)
        except OSError:
            os.close(pidfd)
            raise
        if same:
            return pidfd
        os.close(pidfd)
        return None

    @property
    def is_living(self) -> bool:
        """Whether it lives now."""
        pidfd = self.open_pidfd()
        if pidfd is not None:
            os.close(pidfd)
        return pidfd is not None


def is_dead(pidfd: int) -> bool:
    """Whether the process is dead (a zombie is)."""
    return wait_dead(pidfd, timeout_s=0.0)


def wait_dead(pidfd: int, *, timeout_s: float) -> bool:
    """Waits for the death of the process, for at most `timeout_s`; whether it is dead."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def send_signal(pidfd: int, signum: signal.Signals) -> None:
    """Signals the process; nothing happens if it is dead."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signum)


def pid_of(pidfd: int) -> int:
    """The pid that a pidfd stands for (proc(5), fdinfo), -1 if it is dead, 0 if the descriptor is no pidfd.

    Raises OSError if that cannot be read just now.
    """
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)
