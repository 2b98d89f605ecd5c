"""Whose end is the engine's end: the process that this one works for.

A server's workers come and go: one that is recycled must not take the engine with it, so that not they but the process
that makes them counts. Which one that is has no name of its own under most servers; what all that fork have in common
is that a worker runs on the very stack that its maker was started with.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

_START_OF_STACK = 27  # the field `startstack` of proc(5)'s stat, counted from 0


def server_pid() -> int:
    """The process that made this one to work for it, or else this process: it then is a program by itself."""
    parent_pid = os.getppid()
    maker = multiprocessing.parent_process()
    if maker is not None and maker.is_alive():
        return maker.pid or parent_pid
    forked = was_forked_from(parent_pid)
    if forked or os.environ.get("WERKZEUG_RUN_MAIN") == "true" or (forked is None and _is_worker_by_name()):
        return parent_pid
    return os.getpid()


def was_forked_from(pid: int) -> bool | None:
    """Whether this process is a copy of `pid`, made without starting a program anew; None where that is not shown."""
    own, other = _start_of_stack(os.getpid()), _start_of_stack(pid)
    return own == other if own and other else None


def _is_worker_by_name() -> bool:
    """Servers whose parent may belong to root, so that nothing is shown of it: gunicorn, and Apache with mod_wsgi."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/") or "mod_wsgi" in sys.modules


def _start_of_stack(pid: int) -> int:
    """0 where it is not known: addresses are random for each program, and shown to its own user only."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[_START_OF_STACK - 2])
