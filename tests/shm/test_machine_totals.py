"""The figures of a machine: what its processes count, and what lies in its cache."""

from __future__ import annotations

from contextlib import closing

import pytest

from engine.observe.metrics import PROCESS_COUNTERS, PROCESS_GAUGES
from engine.shm import l1
from engine.shm.machine import MachineSegment, open_l1
from engine.shm.machine_layout import MachineGeometry
from engine.shm.process_row import ProcessRow
from tests.shm.cache_rig import in_ms


def test_a_machine_without_a_cache_has_no_figures_of_one() -> None:
    with closing(MachineSegment.create(MachineGeometry(rows=2, l1_bytes=0))) as machine:
        assert set(machine.process_totals()) == {*PROCESS_COUNTERS, *PROCESS_GAUGES, "supervisor.lives"}


def test_a_cache_that_was_wanted_and_has_no_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l1, "available_bytes", lambda: 4096)
    with closing(MachineSegment.create(MachineGeometry(rows=2, l1_bytes=1 << 20))) as machine:
        assert machine.process_totals()["l1.without_memory"] == 1
        assert open_l1(machine, lambda name, n: None) is None


def test_what_lies_in_the_cache_is_counted_once_for_all_processes() -> None:
    with closing(MachineSegment.create(MachineGeometry(rows=3, l1_bytes=1 << 20))) as machine:
        with closing(ProcessRow.private()) as one, closing(ProcessRow.private()) as other:
            for number, row in enumerate((one, other), 3):
                assert row.move_to(machine)
                way = open_l1(machine, row.add)
                assert way is not None and way.put(bytes([number]) * 32, b"value", in_ms(60))
                row.add("l1.hits", number)
                way.close()
            found = machine.process_totals()
            assert (found["l1.entries"], found["l1.hits"]) == (2, 7)
            assert 0 < found["l1.bytes"] < 1 << 20
