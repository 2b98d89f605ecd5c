"""Every frontend of a real server has a row of its own in the machine segment, and gives it back however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from benchmarks.workloads import WORKLOADS
from engine.client import EngineClient
from engine.config import load_settings
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import SUPERVISOR_ROW, ProcessWord
from tests.serving.servers import processes_of, workload_server
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

FEW = {"model_pool_size": 1, "model_warmup_requests": 1, "max_batch_size": 2, "workers": 2}


def owners(machine: MachineSegment) -> list[int]:
    """Pids of those who have a row, the supervisor's first."""
    rows = filter(machine.is_live, range(machine.geometry.rows))
    return [int(machine.row(row)[ProcessWord.PID]) for row in rows]


def wait_owned(machine: MachineSegment, process: ServerProcess, was: set[int]) -> set[int]:
    """Pids of the frontends, once those who have rows are exactly they and none of those that were there."""

    def found() -> set[int]:
        workers = set(process.workers())
        (supervisor,) = processes_of(process, "engine.supervisor") or [0]
        is_so = sorted(owners(machine)) == sorted({supervisor, *workers}) and machine.is_live(SUPERVISOR_ROW)
        return workers if is_so and len(workers) == 2 and not workers & was else set()

    return wait_for(found, f"two others than {was} to have rows")


def test_each_frontend_has_a_row_and_gives_it_back(tmp_path: Path) -> None:
    with workload_server(WORKLOADS["tiny"], tmp_path, FEW) as process:
        runtime_dir = str(process.runtime_dir)
        client = EngineClient.attach(runtime_dir=runtime_dir, wait_s=30, settings=load_settings({}))
        try:
            machine = client.machine()
            assert machine is not None
            first = wait_owned(machine, process, set())
            process.signal(signal.SIGHUP)
            second = wait_owned(machine, process, first)
            for pid in (*second, *processes_of(process, "engine.supervisor")):
                os.kill(pid, signal.SIGKILL)
            wait_owned(machine, process, second)
        finally:
            client.close()
