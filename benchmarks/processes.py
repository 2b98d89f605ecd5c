"""CPU time and memory of a server and of everything it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36
HZ = os.sysconf("SC_CLK_TCK")
KILLED_S = 20.0  # memory that is given back takes its time
OTHERS = ("redis-server", "postgres")  # servers that a benchmark may start beside ours


def adopt_orphans() -> None:
    """Makes detached processes of a server our descendants, so that they are counted and ended by id."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(*, but: int = 0) -> list[int]:
    """Ids of all processes below this one, without `but`."""
    return [child.pid for child in psutil.Process().children(recursive=True) if child.pid != but]


def own_descendants(*, but: int = 0) -> list[int]:
    """`descendants` that live, without those of OTHERS."""
    return [pid for pid in descendants(but=but) if _is_own(pid)]


def _is_own(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.name() not in OTHERS
    except psutil.NoSuchProcess:
        return False


def cpu_s(pids: list[int]) -> float:
    """Seconds of CPU that these processes have used."""
    return sum(_ticks(pid) for pid in pids) / HZ


def threads_cpu_s(pids: list[int]) -> float:
    """The same of all their threads but the first of each."""
    return cpu_s(pids) - sum(_ticks(pid, f"{pid}/task/{pid}") for pid in pids) / HZ


def pss_mb(pids: list[int]) -> float:
    """Proportional set size of all these processes, MB."""
    return sum(map(_pss_kb, pids)) / 1024


def _ticks(pid: int, place: str = "") -> int:
    try:
        fields = Path(f"/proc/{place or pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def _pss_kb(pid: int) -> int:
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


def end_all(process: subprocess.Popen[bytes], *, patience_s: float = 10.0) -> None:
    """Ends a server: TERM to its main process, later to all that is left below us, then KILL, until nothing is.

    Raises SystemExit where something stays all the same: it would compute beside whatever is measured next.
    """
    gone = False
    try:
        process.send_signal(signal.SIGTERM)
        gone = _all_end(process, patience_s / 2)
        if not gone:
            _signal(descendants(), signal.SIGTERM)
            gone = _all_end(process, patience_s / 2)
    finally:  # whoever interrupts the waiting wants the end of all of them no less
        if not gone:
            _kill_all(process)


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """A resource tracker ends by itself after those it serves, and removes their semaphores and shared memory."""
    _signal([pid for pid in descendants() if not _is_tracker(pid)], signal.SIGKILL)
    give_up_at = time.monotonic() + KILLED_S
    while not _all_end(process, 2.0):
        if time.monotonic() > give_up_at:
            raise SystemExit(f"{process.args!r} left {descendants()}")
        _signal(descendants(), signal.SIGKILL)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_tracker(pid: int) -> bool:
    try:
        return any("resource_tracker" in argument for argument in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _all_end(process: subprocess.Popen[bytes], within_s: float) -> bool:
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        process.poll()
        if not (left := descendants()):
            return True
        for pid in left:
            _reap(pid)
        time.sleep(0.05)
    return False


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
