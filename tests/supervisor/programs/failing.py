"""The real supervisor, with test instances, and with steps that fail on command.

The file named by `NS_TEST_FAILING` holds lines `Class.method before|after COUNT`: so many of the next calls raise,
either in place of the step or when it is done. What is left of the count is written back. A line `module.call before
COUNT` is about a system call, where the loop makes it.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.core.control_groups import Cores
from engine.shm.steward import Steward
from engine.supervisor.adoption import Adoption
from engine.supervisor.announcements import Announcements
from engine.supervisor.carrying import Carrying
from engine.supervisor.closing_version import ClosingVersion
from engine.supervisor.counting import Carrier
from engine.supervisor.departures import Departures
from engine.supervisor.deployment import Deployment
from engine.supervisor.deployments import Deployments
from engine.supervisor.folder import RuntimeFolder
from engine.supervisor.frontend import Frontends
from engine.supervisor.lane_queue import LaneQueue
from engine.supervisor.lanes import LaneTable
from engine.supervisor.ledger import Ledger
from engine.supervisor.listener import Listener
from engine.supervisor.machine import MachineKeeper
from engine.supervisor.main import main
from engine.supervisor.master_watch import MasterWatch
from engine.supervisor.orders import Orders
from engine.supervisor.peer import Peer
from engine.supervisor.placement import Placement
from engine.supervisor.plane import Plane
from engine.supervisor.pool import Pool
from engine.supervisor.reception import Reception
from engine.supervisor.recorder import Recorder
from engine.supervisor.requests import Requests
from engine.supervisor.restoration import Restoration
from engine.supervisor.seats import Seat, Seats
from engine.supervisor.serving_version import ServingVersion
from engine.supervisor.shares import Shares
from engine.supervisor.supervisor import Supervisor
from engine.supervisor.totals import Totals
from engine.supervisor.trial import Trial
from engine.supervisor.tuner import Tuner
from engine.supervisor.tuning_figures import TuningFigures
from engine.supervisor.version import Version
from engine.supervisor.waiters import Waiters

VARIABLE = "NS_TEST_FAILING"
KINDS: tuple[type, ...] = (
    *(Adoption, Deployment, Frontends, LaneTable, Ledger, Listener, MasterWatch, Peer, Plane, Pool, Requests),
    *(Carrier, Orders, Deployments, Placement, Reception, Recorder, RuntimeFolder, Steward, Supervisor, Totals),
    *(Carrying, MachineKeeper, Restoration, Shares, Tuner, Trial, TuningFigures),
    *(Waiters, Version, ServingVersion, ClosingVersion, Announcements, LaneQueue, Departures, Seat, Seats),
)

SYSTEM: tuple[tuple[Any, str, int], ...] = (
    *((os, name, errno.EMFILE) for name in ("open", "dup", "eventfd", "pidfd_open", "memfd_create")),
    *((os, name, errno.ENOMEM) for name in ("fstat", "stat")),
    *((os, "posix_spawn", errno.EAGAIN), (os, "posix_fallocate", errno.ENOSPC), (fcntl, "flock", errno.ENOLCK)),
    *((socket.socket, "accept", errno.EMFILE), (socket.socket, "sendmsg", errno.ENOBUFS)),
    *((selectors.EpollSelector, "register", errno.ENOSPC), (selectors.EpollSelector, "modify", errno.ENOMEM)),
)


def due(step: str, when: str) -> bool:
    """Whether this call is to fail; counts it."""
    path = Path(os.environ[VARIABLE])
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return False
    for fields in lines:
        if fields[:2] == [step, when] and int(fields[2]) > 0:
            fields[2] = str(int(fields[2]) - 1)
            fresh = path.with_suffix(".counted")
            fresh.write_text("".join(" ".join(each) + "\n" for each in lines))
            fresh.rename(path)
            return True
    return False


def failing(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, unless it is to fail."""

    @functools.wraps(call)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if due(step, "before"):
            raise OSError(errno.EMFILE, f"injected into {step}")
        result = call(*arguments, **named)
        if due(step, "after"):
            raise RuntimeError(f"injected after {step}")
        return result

    return wrapped


def wrap_all() -> None:
    """Every method of every part; generators, properties and class methods are left alone."""
    for kind in KINDS:
        for name, member in list(vars(kind).items()):
            if callable(member) and not isinstance(member, type) and not name.startswith("__"):
                setattr(kind, name, failing(f"{kind.__name__}.{name}", member))


def system_call(owner: Any, name: str) -> str:
    """What it is called in the file."""
    return f"{owner.__name__}.{name}"


def limited(step: str, call: Callable[..., Any], number: int) -> Callable[..., Any]:
    """`call`, which the loop is refused with errno `number` when it is to fail."""

    @functools.wraps(call)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if threading.current_thread() is threading.main_thread() and due(step, "before"):
            raise OSError(number, f"injected into {step}")
        return call(*arguments, **named)

    return wrapped


def wrap_system() -> None:
    for owner, name, number in SYSTEM:
        setattr(owner, name, limited(system_call(owner, name), getattr(owner, name), number))


if __name__ == "__main__":
    wrap_all()
    wrap_system()
    command = (sys.executable, "-m", "tests.supervisor.programs.instance")
    cores = int(os.environ["NS_TEST_CORES"])
    changed = {"instance_command": command, "cores": Cores(cores, cores)}
    sys.exit(main(sys.argv[1:], trial_command=(*command[:2], "tests.supervisor.programs.trial"), **changed))
