"""Peers that talk nonsense, lie, or do not listen: each loses its connection, nobody else notices."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.errors import PeerGone
from engine.messages import Connection, connect, process_start_ticks, sealed_memfd
from engine.supervisor.peer import LONGEST_OUTBOX
from tests.supervisor.engine_process import EngineProcess, ask, ready_pids, serving, wait_serving
from tests.support.wait import wait_for

SELF = {"pid": os.getpid(), "start_ticks": process_start_ticks(os.getpid())}


def is_dropped(connection: Connection) -> bool:
    """Whether the supervisor ends the connection; what it says before that is skipped."""
    while select.select([connection], [], [], 10)[0]:
        try:
            received = connection.receive()
        except PeerGone:
            return True
        for fd in received[1] if received else []:
            os.close(fd)
    return False


@pytest.mark.parametrize(
    "message",
    [
        {"type": "idle", "deployment": "x", "version": 1},
        {"type": "hello"},
        {"type": "hello", "role": "king"},
        {"type": "hello", "role": "frontend"},
        {"type": "hello", "role": "frontend", "pid": "me", "start_ticks": 1},
        {"type": "hello", "role": "frontend", "pid": 1, "start_ticks": 1},
        {"type": "hello", "role": "frontend", **SELF, "holds": 5},
        {"type": "hello", "role": "frontend", **SELF, "holds": [5]},
        {"type": "hello", "role": "frontend", **SELF, "holds": [{"deployment": "x", "version": -1}]},
        {"type": "hello", "role": "frontend", **SELF, "holds": [{"deployment": "x", "version": 1, "lane": 0}]},
        {"type": "hello", "role": "frontend", **SELF, "process": [{"kind": "totals", "number": -1, "fds": 1}]},
        {"type": "hello", "role": "frontend", **SELF, "process": [{"kind": "totals", "number": 1, "fds": 8}]},
        {"type": "hello", "role": "instance", **SELF},
        {"type": "hello", "role": "instance", **SELF, "key": 3},
        {"type": "hello", "role": "instance", **SELF, "holds": [{"deployment": "x", "version": 1, "name": 3}]},
    ],
    ids=lambda message: ", ".join(f"{key}={value}" for key, value in message.items() if key not in SELF),
)
def test_a_first_word_that_cannot_be_is_the_last(engine: EngineProcess, message: dict[str, Any]) -> None:
    with engine.client() as client:
        wait_serving(client)
        for fds in ([], [os.pidfd_open(os.getpid())], [sealed_memfd("x", b"x")] * 3):
            stranger = connect(engine.runtime_dir)
            stranger.send(message, fds)
            for fd in set(fds):
                os.close(fd)
            if message.get("role") != "frontend" or "key" in message or not fds:
                assert is_dropped(stranger), (message, fds)
            stranger.close()
        assert ask(client, 3.0)[2] == 3.0


def test_nobody_can_claim_the_lane_of_another_process(engine: EngineProcess) -> None:
    """A child that says hello with its own pidfd but our lane."""
    with engine.client() as client:
        wait_serving(client)
        program = (
            "import os, sys; from engine.messages import *\n"
            "c = connect(sys.argv[1]); fd = os.pidfd_open(os.getpid()); m = sealed_memfd('x', b'x')\n"
            "hold = {'deployment': 'wildlife_detector_optimized', 'version': 1, 'lane': 0}\n"
            "c.send({'type': 'hello', 'role': 'frontend', 'pid': os.getpid(), 'holds': [hold],\n"
            "  'start_ticks': process_start_ticks(os.getpid())}, [fd, m, m, m])\n"
            "import select; select.select([c], [], [], 10)\n"
            "while True:\n"
            "    try: c.receive()\n"
            "    except PeerGone: break\n"
            "print('dropped')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(engine.runtime_dir)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stdout == "dropped\n"
        assert serving(client)["lanes"]["owners"] == {"0": os.getpid()}
        assert ask(client, 3.0)[2] == 3.0


def test_a_frontend_that_does_not_listen_is_disconnected_and_others_are_served(engine: EngineProcess) -> None:
    with engine.client():
        deaf = connect(engine.runtime_dir)
    pidfd = os.pidfd_open(os.getpid())
    deaf.send({"type": "hello", "role": "frontend", **SELF, "holds": []}, [pidfd])
    os.close(pidfd)
    with engine.client() as client:
        wait_serving(client)
        with pytest.raises(PeerGone):
            for number in range(10 * LONGEST_OUTBOX):
                deaf.send({"type": "request", "id": number, "op": "status"})
        assert ask(client, 3.0)[2] == 3.0
        deaf.close()
        assert ask(client, 4.0)[2] == 4.0


def test_many_that_come_and_go_leave_nothing(engine: EngineProcess) -> None:
    with engine.client() as client:
        ready_pids(client, 2)  # an instance that connects while we count would look like something left behind
        assert engine.process is not None
        folder = Path(f"/proc/{engine.process.pid}/fd")
        before = len(list(folder.iterdir()))
        for number in range(200):
            visitor = connect(engine.runtime_dir)
            if number % 2:
                pidfd = os.pidfd_open(os.getpid())
                visitor.send({"type": "hello", "role": "admin", **SELF}, [pidfd])
                os.close(pidfd)
            visitor.close()
        wait_for(lambda: len(list(folder.iterdir())) <= before, "every descriptor to be closed")


def test_the_supervisor_is_small_and_knows_no_torch(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        assert engine.process is not None
        rollup = Path(f"/proc/{engine.process.pid}/smaps_rollup").read_text()
        pss_kb = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss_kb < 90 * 1024
        assert "torch" not in Path(f"/proc/{engine.process.pid}/maps").read_text()
