"""Rows of seats: what an instance counts goes on with the next one of its seat, whatever became of the last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.crash_points import VARIABLE
from engine.observe.histograms import BATCH_SIZE, COMPUTING, QUEUEING
from engine.observe.seats import SeatFigures
from engine.shm.layout import ON_CPU, device_number
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import SEAT_ROWS, MachineGeometry
from engine.shm.seat_figures import seat_figures
from engine.shm.seat_row import SeatRow
from tests.shm.rig import ROOT

# Takes a row, counts a batch, and is killed.
PROCESS = """
import os, signal, sys
from engine.shm.layout import ON_CPU
from engine.shm.machine import MachineSegment
from engine.shm.seat_row import SeatRow
row = SeatRow("m", 0, ON_CPU)
assert row.move_to(MachineSegment.attach(int(sys.argv[1])))
row.set("working", 1)
row.add_batch(computed=1, failed=0, busy_ns=1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def machine() -> Iterator[MachineSegment]:
    made = MachineSegment.create(MachineGeometry(rows=1, l1_bytes=0))
    yield made
    made.close()


def taken(machine: MachineSegment, name: str = "m", seat: int = 0, device: int = ON_CPU) -> SeatRow:
    row = SeatRow(name, seat, device)
    assert row.move_to(machine)
    return row


def ended(machine: MachineSegment, crash_point: str = "") -> int:
    """The status of PROCESS."""
    fd = os.dup(machine.fd)
    try:
        environment = {**os.environ, VARIABLE: crash_point}
        command = [sys.executable, "-c", PROCESS, str(fd)]
        return subprocess.run(command, pass_fds=[fd], cwd=ROOT, env=environment, timeout=60).returncode
    finally:
        os.close(fd)


def only(machine: MachineSegment) -> SeatFigures:
    (found,) = seat_figures(machine)
    return found


def counted(machine: MachineSegment, name: str) -> int:
    return only(machine).counters[name]


def test_what_was_counted_in_private_is_added(machine: MachineSegment) -> None:
    row = SeatRow("m", 3, device_number("cuda:1"))
    row.add_batch(computed=5, failed=1, busy_ns=2_000_000)
    row.set("working", 1)
    assert seat_figures(machine) == []
    assert row.move_to(machine) and row.move_to(machine)
    row.add_taken([100, 2_000_000_000])
    found = only(machine)
    assert (found.deployment, found.seat, found.device) == ("m", 3, "cuda:1")
    assert [found.counters[name] for name in ("starts", "restarts", "batches", "requests", "failed")] == [1, 0, 1, 5, 1]
    assert COMPUTING.cumulative(found.counters)[2] == 1 and found.counters[COMPUTING.total] == 2_000_000
    assert BATCH_SIZE.cumulative(found.counters) == [0, 0, 0, 1, 1, 1, 1, 1]
    assert QUEUEING.cumulative(found.counters)[-4:] == [1, 2, 2, 2] and found.counters[QUEUEING.total] == 2_000_000_100
    assert found.gauges["working"] == 1
    row.close()
    assert only(machine).gauges["working"] == 0 and counted(machine, "batches") == 1


def test_the_next_one_of_a_seat_goes_on_and_is_no_restart(machine: MachineSegment) -> None:
    for _ in range(3):
        row = taken(machine)
        row.add_batch(computed=1, failed=0, busy_ns=1)
        row.close()
    assert (counted(machine, "batches"), counted(machine, "starts"), counted(machine, "restarts")) == (3, 3, 0)


def test_two_of_one_seat_count_together(machine: MachineSegment) -> None:
    """As while a version follows another one."""
    old, new = taken(machine), taken(machine)
    for row, batches in ((old, 1), (new, 2)):
        row.set("working", 1)
        for _ in range(batches):
            row.add_batch(computed=1, failed=0, busy_ns=1)
    assert counted(machine, "batches") == 3 and only(machine).gauges["working"] == 2
    old.close()
    assert counted(machine, "batches") == 3 and only(machine).gauges["working"] == 1
    new.close()
    taken(machine).close()
    assert (counted(machine, "batches"), counted(machine, "starts")) == (3, 3)


def test_whoever_follows_one_that_was_killed_is_a_restart(machine: MachineSegment) -> None:
    for deaths in (1, 2):
        assert ended(machine) == -signal.SIGKILL
        assert only(machine).gauges["working"] == 0, "nobody has the row any more"
        row = taken(machine)
        row.close()
        assert (counted(machine, "restarts"), counted(machine, "starts")) == (deaths, 2 * deaths)
        assert counted(machine, "batches") == deaths


def test_deployments_seats_and_devices_are_told_apart(machine: MachineSegment) -> None:
    rows = [taken(machine, *each) for each in (("b", 0), ("a", 1), ("a", 0), ("a", 0, device_number("cuda:0")))]
    found = [(each.deployment, each.seat, each.device) for each in seat_figures(machine)]
    assert found == [("a", 0, "cpu"), ("a", 0, "cuda:0"), ("a", 1, "cpu"), ("b", 0, "cpu")]
    for row in rows:
        row.close()


def test_only_when_all_rows_are_used_the_longest_idle_one_is_given_away(machine: MachineSegment) -> None:
    rows = [taken(machine, f"m{k}") for k in range(SEAT_ROWS)]
    stranger = SeatRow("stranger", 0, ON_CPU)
    assert not stranger.move_to(machine)
    rows[7].close()
    rows[3].close()
    assert stranger.move_to(machine)
    names = {each.deployment for each in seat_figures(machine)}
    assert len(names) == SEAT_ROWS and "m3" not in names and {"stranger", "m7"} <= names
    for row in (*rows, stranger):
        row.close()


@pytest.mark.parametrize("point", ["seat.unnamed", "seat.named"])
def test_one_that_dies_while_it_takes_a_row_leaves_nothing_wrong(machine: MachineSegment, point: str) -> None:
    assert ended(machine, point) == -signal.SIGKILL
    assert seat_figures(machine) == []
    row = taken(machine)
    row.add_batch(computed=2, failed=0, busy_ns=1)
    assert (counted(machine, "requests"), counted(machine, "restarts")) == (2, 0)
    row.close()
