"""Rows of processes in the machine segment: counters that never fall, gauges of the living, permissions that die."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from engine.core.lending import Holding, Loan
from engine.crash_points import VARIABLE
from engine.errors import OutOfMemory, ProtocolError
from engine.messages import sealed_memfd
from engine.observe.metrics import PROCESS_COUNTERS, PROCESS_GAUGES
from engine.shm import machine as machine_module
from engine.shm.layout import PAGE_BYTES
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import MachineGeometry, ProcessWord
from engine.shm.process_row import ProcessRow
from tests.shm.rig import ROOT
from tests.support.wait import wait_for

ROWS = 4
L1_BYTES = 16 * PAGE_BYTES

# Counts 3, then moves to the segment, where it counts 4 more; says so, and waits to be killed.
PROCESS = """
import os, sys
from engine.shm.machine import MachineSegment
from engine.shm.process_row import ProcessRow
row = ProcessRow.private()
row.add("l1.hits", 3)
row.set("redis.idle", 2)
assert row.move_to(MachineSegment.attach(int(sys.argv[1])))
row.add("l1.hits", 4)
print("moved", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def machine() -> Iterator[MachineSegment]:
    made = MachineSegment.create(MachineGeometry(ROWS, L1_BYTES))
    yield made
    made.close()


@pytest.fixture
def rows() -> Iterator[list[ProcessRow]]:
    """To be closed at the end."""
    made: list[ProcessRow] = []
    yield made
    for row in made:
        row.close()


def process(machine: MachineSegment, crash_point: str = "") -> subprocess.Popen[str]:
    fd = os.dup(machine.fd)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(fd)], pass_fds=[fd], cwd=ROOT, text=True,
            env={**os.environ, VARIABLE: crash_point}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(fd)


def ended(process: subprocess.Popen[str]) -> int:
    """Its status, once it is killed."""
    process.kill()
    with process:
        pass
    return process.returncode


# --- the segment ----------------------------------------------------------------------------------------------------


def test_all_who_attach_see_the_same_bytes(machine: MachineSegment) -> None:
    other = machine.again()
    os.posix_fallocate(machine.fd, machine.geometry.l1_at, PAGE_BYTES)
    machine.l1_area[5] = 77
    assert (other.l1_area[5], len(other.l1_area), other.identity) == (77, L1_BYTES, machine.identity)
    other.close()
    other.close()


def test_too_little_memory_is_refused_with_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "available_bytes", lambda: 4096)
    with pytest.raises(OutOfMemory, match="4096 are available"):
        MachineSegment.create(MachineGeometry(ROWS, 0))


def test_what_is_no_machine_segment_is_refused(machine: MachineSegment) -> None:
    """And its descriptor closed: the leak guard sees to that."""
    head = os.pread(machine.fd, machine.geometry.total_bytes, 0)
    other_version = head[:8] + b"\xff" + head[9:]
    more_rows = head[:16] + b"\xff" + head[17:]
    no_rows = head[:16] + bytes(8) + head[24:]
    for content in (b"", head[:100], bytes(9000), other_version, more_rows, no_rows):
        with pytest.raises(ProtocolError):
            MachineSegment.attach(sealed_memfd("test", content))
    unsealed = os.memfd_create("test")
    os.write(unsealed, head)
    with pytest.raises(ProtocolError, match="not sealed"):
        MachineSegment.attach(unsealed)


def test_nobody_can_take_the_memory_away(machine: MachineSegment) -> None:
    for size in (PAGE_BYTES, 2 * machine.geometry.total_bytes):
        with pytest.raises(PermissionError):
            os.ftruncate(machine.fd, size)


# --- rows -----------------------------------------------------------------------------------------------------------


def test_what_was_counted_in_private_is_added_in_the_segment(machine: MachineSegment, rows: list[ProcessRow]) -> None:
    for _ in range(2):
        row = ProcessRow.private()
        rows.append(row)
        row.add("l1.hits", 2)
        row.set("redis.idle", 5)
        assert row.get("l1.hits") == 2
        assert row.move_to(machine) and row.move_to(machine)
        assert not row.is_private
        row.add_all([("l1.hits", 1), ("l2.misses", 7)])
    totals = machine.process_totals()
    assert (totals["l1.hits"], totals["l2.misses"], totals["redis.idle"]) == (6, 14, 10)
    assert totals.keys() == {*PROCESS_COUNTERS, *PROCESS_GAUGES, "l1.entries", "l1.bytes", "supervisor.lives"}


def test_a_gauge_that_says_how_bad_it_is_is_the_worst_of_all(machine: MachineSegment, rows: list[ProcessRow]) -> None:
    for breaker in (0, 2, 1):
        rows.append(ProcessRow.private())
        rows[-1].move_to(machine)
        rows[-1].set("redis.breaker", breaker)
    assert machine.process_totals()["redis.breaker"] == 2


def test_a_name_that_is_not_declared_is_an_error() -> None:
    row = ProcessRow.private()
    for use in (lambda: row.add("redis.idle"), lambda: row.set("l1.hits", 1), lambda: row.share("database")):
        with pytest.raises(KeyError):
            use()
    row.close()


def test_a_row_that_is_given_back_goes_on_with_its_counters_and_without_its_gauges(machine: MachineSegment) -> None:
    for _ in range(ROWS * 2):
        row = ProcessRow.private()
        assert row.move_to(machine)
        row.add("l1.hits")
        row.set("redis.idle", 1)
        row.close()
        row.close()
        row.add("l1.hits")  # of a thread that ends a little later
    totals = machine.process_totals()
    assert (totals["l1.hits"], totals["redis.idle"]) == (2 * ROWS, 0)


def test_one_process_too_many_goes_on_in_private(machine: MachineSegment, rows: list[ProcessRow]) -> None:
    """The first row is the supervisor's: it finds one whoever has come before."""
    rows += [ProcessRow.private() for _ in range(ROWS + 1)]
    assert [row.move_to(machine) for row in rows] == [True] * (ROWS - 1) + [False] * 2
    rows[-1].add("l1.hits")
    assert machine.process_totals()["l1.hits"] == 0
    assert rows[-2].move_to(machine, row=0)
    assert not rows[-1].move_to(machine, row=0)
    rows[0].close()
    assert rows[-1].move_to(machine)
    assert machine.process_totals()["l1.hits"] == 1


def test_a_segment_that_takes_anothers_place_gets_what_this_process_had_counted(machine: MachineSegment) -> None:
    row, newer = ProcessRow.private(), MachineSegment.create(MachineGeometry(ROWS, 0))
    row.move_to(machine)
    row.add("l1.hits", 5)
    row.hold("redis", 3)
    assert row.move_to(newer)
    assert newer.process_totals()["l1.hits"] == 5
    words = newer.row(1)
    assert Holding.unpack(words[ProcessWord.HOLDINGS]) == (1, 0, 3)  # it has them still, whoever lent them
    assert not machine.is_live(1)
    row.close()
    newer.close()


def test_threads_that_count_lose_nothing_while_the_row_moves(machine: MachineSegment, rows: list[ProcessRow]) -> None:
    row = ProcessRow.private()
    rows.append(row)
    threads = [threading.Thread(target=lambda: deque(map(row.add, ["l1.hits"] * 2000), 0)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert row.move_to(machine)
    for thread in threads:
        thread.join()
    assert machine.process_totals()["l1.hits"] == 8000


# --- deaths ---------------------------------------------------------------------------------------------------------


def test_gauges_end_with_their_process_and_counters_do_not(machine: MachineSegment) -> None:
    one = process(machine)
    assert one.stdout is not None and one.stdout.readline() == "moved\n"
    assert (machine.process_totals()["l1.hits"], machine.process_totals()["redis.idle"]) == (7, 2)
    assert machine.is_live(1)
    ended(one)
    assert (machine.process_totals()["l1.hits"], machine.process_totals()["redis.idle"]) == (7, 0)
    assert not machine.is_live(1)


@pytest.mark.parametrize(
    "point", ["row.cleared", "row.named", "row.begun", "row.counter:1", f"row.counter:{len(PROCESS_COUNTERS)}"]
)
def test_killed_between_two_stores_a_process_leaves_a_row_that_goes_on(machine: MachineSegment, point: str) -> None:
    """What it had counted by itself may be lost with it; what stood in the row is not."""
    before = ProcessRow.private()
    before.move_to(machine)
    before.add_all([(name, 10) for name in PROCESS_COUNTERS])
    before.set("redis.idle", 9)
    before.close()
    killed = process(machine, point)
    assert killed.wait(30) == -9
    ended(killed)
    totals = machine.process_totals()
    assert {totals[name] for name in PROCESS_COUNTERS} <= {10, 13} and totals["redis.idle"] == 0
    after = ProcessRow.private()
    after.add("l1.hits")
    assert after.move_to(machine)
    assert machine.process_totals()["l1.hits"] == totals["l1.hits"] + 1
    assert machine.process_totals()["redis.idle"] == 0
    after.close()


def test_a_forked_child_writes_nothing_and_keeps_nothing(machine: MachineSegment, rows: list[ProcessRow]) -> None:
    row = ProcessRow.private()
    rows.append(row)
    row.move_to(machine)
    row.add("l1.hits", 2)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        row.add("l1.hits", 50)
        row.set("redis.idle", 50)
        row.hold("redis", 50)
        took = row.move_to(machine)
        os.write(told, bytes([row.share("redis"), took]))
        os._exit(0)
    assert os.read(ready, 2) == bytes(2)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(told)
    totals = machine.process_totals()
    assert (totals["l1.hits"], totals["redis.idle"]) == (2, 0)
    assert Holding.unpack(machine.row(1)[ProcessWord.HOLDINGS]).most == 0
    assert machine.is_live(1)


def test_a_forked_child_does_not_keep_the_row_of_its_dead_parent(machine: MachineSegment) -> None:
    """A process that forks a child and is killed: its row is free although the child lives."""
    fd = os.dup(machine.fd)
    program = PROCESS.replace('print("moved"', 'child = os.fork()\nif child == 0: sys.stdin.read()\nprint("moved"')
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(fd)], pass_fds=[fd], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(fd)
    assert parent.stdout is not None and parent.stdout.readline() == "moved\n"
    assert machine.is_live(1)
    parent.kill()
    parent.wait()
    wait_for(lambda: not machine.is_live(1), "the child has let go of it, which may have begun after the parent's end")
    with parent:  # the end of its input ends the child
        pass


# --- what is lent ---------------------------------------------------------------------------------------------------


def lend(machine: MachineSegment, row: int, pool: int, most: int) -> None:
    """As the supervisor does."""
    words = machine.row(row)
    loan = Loan.unpack(words[ProcessWord.LOANS + pool])
    words[ProcessWord.LOANS + pool] = Loan(words[ProcessWord.EPOCH], loan.number + 1, 0, most).pack()


def test_a_share_is_for_the_process_that_it_was_lent_to(machine: MachineSegment) -> None:
    for _ in range(2):
        row = ProcessRow.private({"http": 6})
        assert (row.share("redis"), row.share("http")) == (0, 6)  # alone
        row.move_to(machine)
        assert (row.share("redis"), row.share("http")) == (0, 0)  # also where a dead one had some
        lend(machine, 1, 0, 3)
        lend(machine, 1, 1, 4)
        assert (row.share("redis"), row.share("http")) == (3, 4)
        row.hold("redis", 2)
        words = machine.row(1)
        holding, loan = Holding.unpack(words[ProcessWord.HOLDINGS]), Loan.unpack(words[ProcessWord.LOANS])
        assert (holding.epoch, holding.number, holding.most) == (loan.epoch, loan.number, 2)
        row.close()
        assert row.share("redis") == 0
