"""Counts what a process can leave behind, before and after a test."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SETTLE_S = 5.0
# Servers that a fixture of a module or of the session ends, which a test may have restarted: see ServiceProcess.
kept_children: set[int] = set()


def open_descriptors() -> dict[int, str]:
    """Descriptor -> what it points to, of this process."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return found


def _is_own_spool(what: str) -> bool:
    """The journal of this process, which begins with the first answer and is open until it ends."""
    return what.startswith(os.environ["XDG_STATE_HOME"]) and ".spool" in what


def descendants() -> frozenset[int]:
    """Processes below this one. A listing during which a child ends may leave out another: two have to agree."""
    if not Path("/proc/thread-self/children").exists():  # a kernel without such listings: all processes are asked
        return frozenset(child.pid for child in psutil.Process().children(recursive=True))
    found, before = _below(os.getpid()), None
    while found != before:
        found, before = _below(os.getpid()), found
    return found


def _below(pid: int) -> frozenset[int]:
    """As the kernel lists them: to ask all processes of the machine, twice for each test, takes ten times as long."""
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile, and left no children
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.update(map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split()))
    return frozenset(found.union(*map(_below, found)))


def _shared_names() -> list[str]:
    """But for those of an `initdb`, which another process of the tests may be running beside this one."""
    return [name for name in os.listdir("/dev/shm") if not name.startswith("PostgreSQL.")]


@dataclass(frozen=True)
class LeakGuard:
    """What existed before a test."""

    descriptors: dict[int, str]
    children: frozenset[int]
    threads: frozenset[int]
    shared_names: frozenset[str]

    @classmethod
    def now(cls) -> LeakGuard:
        threads = frozenset(thread.ident or 0 for thread in threading.enumerate())
        return cls(open_descriptors(), descendants(), threads, frozenset(_shared_names()))

    def leaked(self) -> list[str]:
        """What exists now and did not before, in words."""
        now = LeakGuard.now()
        opened = {fd: what for fd, what in now.descriptors.items() if self.descriptors.get(fd) != what}
        opened = {fd: what for fd, what in opened.items() if not _is_own_spool(what)}
        found = [f"descriptor {fd} -> {what}" for fd, what in opened.items()]
        found += [f"child process {pid}" for pid in now.children - self.children - kept_children]
        found += [f"thread {t.name}" for t in threading.enumerate() if (t.ident or 0) not in self.threads]
        return found + [f"/dev/shm/{name}" for name in now.shared_names - self.shared_names]

    def check(self) -> None:
        """Fails the test that leaked; what is already on its way out gets a moment to go."""
        give_up_at = time.monotonic() + SETTLE_S
        while (found := self.leaked()) and time.monotonic() < give_up_at:
            gc.collect()  # only now: a full collection at every test would be half the time of the suite
            time.sleep(0.02)
        assert not found, "left behind: " + "; ".join(found)
