"""The machine segment as a client has it: the newest that was offered, told to all who follow."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from engine.client.shared_machine import SharedMachine
from engine.config import load_settings
from engine.control.process_holds import MACHINE, ProcessHold, ProcessHolds
from engine.messages import sealed_memfd
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import MachineGeometry
from engine.stores.process_stores import ProcessStores

GEOMETRY = MachineGeometry(rows=3, l1_bytes=0)


@pytest.fixture
def holds() -> Iterator[ProcessHolds]:
    made = ProcessHolds()
    yield made
    made.close()


@pytest.fixture
def shared() -> Iterator[SharedMachine]:
    made = SharedMachine()
    yield made
    made.close()
    made.close()


def offer(holds: ProcessHolds, number: int) -> None:
    """As a welcome does."""
    machine = MachineSegment.create(GEOMETRY)
    holds.keep(ProcessHold(MACHINE, number, (os.dup(machine.fd),)))
    machine.close()


def test_who_follows_is_told_of_what_there_is_and_of_what_replaces_it(
    shared: SharedMachine, holds: ProcessHolds
) -> None:
    shared.look(holds)
    early: list[MachineSegment] = []
    late: list[MachineSegment] = []
    shared.follow(early.append)
    offer(holds, 5)
    shared.look(holds)
    shared.look(holds)
    shared.follow(late.append)
    offer(holds, 6)
    shared.look(holds)
    assert len(early) == 2 and early == late and shared.current is early[-1]
    assert early[0].process_totals()["l1.hits"] == 0  # still mapped, for whoever reads in it this moment


def test_counters_of_a_process_go_with_it_to_the_segment_that_takes_the_place(
    shared: SharedMachine, holds: ProcessHolds
) -> None:
    """A process that was stopped for long comes back to a supervisor that has made another one meanwhile."""
    stores = ProcessStores.open(load_settings({}).changed(journal="off"))
    shared.follow(stores.meet)
    stores.row.add("l1.hits", 2)
    for number in (1, 2, 3):
        offer(holds, number)
        shared.look(holds)
        stores.row.add("l1.hits")
    assert shared.current is not None and shared.current.process_totals()["l1.hits"] == 5
    stores.close()


def test_one_of_another_version_leaves_the_process_by_itself(
    shared: SharedMachine, holds: ProcessHolds, caplog: pytest.LogCaptureFixture
) -> None:
    holds.keep(ProcessHold(MACHINE, 1, (sealed_memfd("test", bytes(9000)),)))
    told: list[MachineSegment] = []
    shared.follow(told.append)
    shared.look(holds)
    assert not told and "its own for now" in caplog.text
    offer(holds, 2)
    shared.look(holds)
    assert told == [shared.current]
