"""The machine segment among real processes: counters that never fall, shares that are never too many."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from engine.client import EngineClient
from engine.control.process_holds import MACHINE, ProcessHold, ProcessHolds
from engine.errors import OutOfMemory
from engine.messages import sealed_memfd
from engine.shm import machine as machine_module
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import MachineGeometry
from engine.shm.process_row import ProcessRow
from engine.supervisor.loop import Loop
from engine.supervisor.machine import MachineKeeper
from engine.supervisor.shares import Shares
from tests.supervisor.engine_process import EngineProcess, ready_pids, tell, told, wait_serving
from tests.supervisor.failing_engine import failing_engine, health, is_well
from tests.support.wait import wait_for

GEOMETRY = MachineGeometry(rows=6, l1_bytes=0)
Frontend = subprocess.Popen[str]


def say(process: Frontend, line: str) -> str:
    tell(process, line)
    return told(process)


def total(client: EngineClient) -> int:
    machine = client.machine()
    assert machine is not None
    return machine.process_totals()["l1.hits"]


@contextmanager
def never_falls(look: Callable[[], int]) -> Iterator[None]:
    """Inside, `look` is called again and again, and what it says may only grow."""
    seen, stop, falls = [0], threading.Event(), []

    def watch() -> None:
        while not stop.is_set():
            seen.append(look())
            if seen[-1] < seen[-2]:
                falls.append(seen[-2:])

    thread = threading.Thread(target=watch, name="watch")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not falls and len(seen) > 1


# --- in real processes ----------------------------------------------------------------------------------------------


def test_counters_never_fall_whoever_is_killed(engine: EngineProcess) -> None:
    with engine.client() as client, ExitStack() as stack:
        wait_serving(client)
        stack.enter_context(never_falls(lambda: total(client)))
        one = stack.enter_context(engine.frontend("counting"))
        assert say(one, "count 5") == "5"
        one.kill()
        one.wait()
        two = stack.enter_context(engine.frontend("counting"))
        assert say(two, "count 1") == "6"
        for _ in range(2):
            engine.kill_supervisor()
            assert say(two, "fork 100") == "gone"
            two.kill()
            two.wait()
            engine.start()
            two = stack.enter_context(engine.frontend("counting"))
            say(two, "count 1")
        assert total(client) == 8
        instances = ready_pids(client, 2)
        for pid in instances:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: set(ready_pids(client, 2)).isdisjoint(instances), "others in their place")
        assert say(two, "count 1") == "9"


def test_the_segment_lives_on_with_instances_alone(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        ready_pids(client, 2)
        with engine.frontend("counting") as one:
            assert say(one, "count 5") == "5"
    engine.kill_supervisor()
    engine.start()
    with engine.client() as client:
        assert total(client) == 5


def test_without_memory_for_it_everybody_serves_on_and_gets_it_later(runtime_dir: Path) -> None:
    with failing_engine(runtime_dir) as (engine, board):
        engine.kill_supervisor()
        engine.end_all()
        board.arm("MachineKeeper.begin", count=5)
        engine.start()
        with engine.client() as client:
            wait_serving(client)
            met: list[MachineSegment] = []
            client.machines.follow(met.append)
            wait_for(lambda: met, "the segment that was made later")
            wait_for(lambda: is_well(client), "the supervisor to be well")
            assert "_begin_machine" in str(health(client)["recent"]) and not board.left()


def test_shares_follow_those_who_live(runtime_dir: Path) -> None:
    """Totals 6: for one, for two, for none while the supervisor is away, and for those who are left."""
    with EngineProcess(runtime_dir, redis_max_connections=6) as engine, ExitStack() as stack:
        one = stack.enter_context(engine.frontend("counting"))
        wait_for(lambda: say(one, "share") == "6", "all for one")
        two = stack.enter_context(engine.frontend("counting"))
        wait_for(lambda: (say(one, "share"), say(two, "share")) == ("3", "3"), "half for each")
        engine.kill_supervisor()
        one.kill()
        one.wait()
        assert say(two, "share") == "3"
        engine.start()
        wait_for(lambda: say(two, "share") == "6", "what the dead one had")


# --- in this process ------------------------------------------------------------------------------------------------


@pytest.fixture
def holds() -> Iterator[ProcessHolds]:
    made = ProcessHolds()
    yield made
    made.close()


@contextmanager
def keeper_of(holds: ProcessHolds) -> Iterator[MachineKeeper]:
    keeper = MachineKeeper(holds, GEOMETRY)
    try:
        yield keeper
    finally:
        keeper.close()


def counted(keeper: MachineKeeper, name: str) -> int:
    assert keeper.machine is not None
    return keeper.machine.process_totals()[name]


def test_a_successor_goes_on_with_the_segment_and_the_row(holds: ProcessHolds) -> None:
    with keeper_of(holds) as keeper:
        keeper.row.add("journal.stored", 3)
        assert keeper.begin() and not keeper.begin()
        keeper.row.add("journal.stored")
    with keeper_of(holds) as keeper:
        keeper.row.add("journal.stored")
        assert keeper.begin()
        assert counted(keeper, "journal.stored") == 5


def test_a_predecessor_that_has_not_ended_yet_is_waited_for(holds: ProcessHolds) -> None:
    with keeper_of(holds) as before, keeper_of(holds) as keeper:
        assert before.begin()
        with pytest.raises(OSError, match="another process has the supervisor's row"):
            keeper.begin()
        before.close()
        assert keeper.begin()


def test_a_segment_that_nobody_can_read_is_replaced_by_a_newer_one(holds: ProcessHolds) -> None:
    holds.keep(ProcessHold(MACHINE, 1 << 63, (sealed_memfd("test", bytes(5000)),)))
    with keeper_of(holds) as keeper:
        assert keeper.begin()
        found = holds.get(MACHINE)
        assert found is not None and found.number == (1 << 63) + 1
        MachineSegment.attach(os.dup(found.fds[0])).close()


def test_without_memory_the_supervisor_counts_in_private(
    holds: ProcessHolds, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keeper_of(holds) as keeper:
        monkeypatch.setattr(machine_module, "available_bytes", lambda: 100)
        with pytest.raises(OutOfMemory):
            keeper.begin()
        keeper.row.add("journal.stored")
        assert holds.get(MACHINE) is None
        monkeypatch.undo()
        assert keeper.begin()
        assert counted(keeper, "journal.stored") == 1


def test_each_pool_has_shares_of_its_own(holds: ProcessHolds) -> None:
    """Whoever has no use for a pool is lent none of it."""
    loop, rows = Loop(), [ProcessRow.private() for _ in range(3)]
    with keeper_of(holds) as keeper:
        Shares(loop, keeper, {"redis": 7, "http": 4}).begin()
        loop.run_once(0)
        assert keeper.begin() and keeper.machine is not None
        for row in rows:
            row.move_to(keeper.machine)
            row.set("redis.initialized", 1)
        rows[2].set("http.initialized", 1)

        def shares(pool: str) -> list[int]:
            loop.run_once(0.01)
            found = [row.share(pool) for row in rows]
            for row, share in zip(rows, found, strict=True):
                row.hold(pool, share)
            assert sum(found) <= {"redis": 7, "http": 4}[pool]
            return sorted(found)

        wait_for(lambda: shares("redis") == [2, 2, 3], "Redis for all", step_s=0)
        wait_for(lambda: shares("http") == [0, 0, 4], "the original API for one", step_s=0)
    for row in rows:
        row.close()
    loop.close()
