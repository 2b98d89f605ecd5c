"""More clients than lanes: whoever is one too many is told so."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.client import EngineClient
from engine.errors import NotReady
from tests.supervisor.engine_process import EngineProcess, ask, deploy, serving, wait_serving
from tests.support.wait import wait_for

PLENTY = "MemAvailable: 1000000000 kB\n"


def test_a_client_beyond_the_lanes_is_told_who_has_them(engine: EngineProcess) -> None:
    """It does not hang without a word: its error, the log and status name the owners; a lane that is freed is its."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(engine.client())
        wait_serving(first)
        lanes = serving(first)["lanes"]["total"]
        for _ in range(lanes - 2):
            stack.enter_context(engine.client())
        last = contextlib.ExitStack()
        last.enter_context(engine.client())
        told = rf"all {lanes} lanes are taken by pids {os.getpid()}; raise `workers`"
        with pytest.raises(NotReady, match=told), engine.client(wait_s=1.0):
            pass
        wait_for(lambda: serving(first)["lanes"]["waiting_pids"] == [], "the one that gave up to be forgotten")
        last.close()
        with engine.client() as another:
            assert ask(another, 1.0)[2] == 1.0


def test_a_client_for_which_there_is_no_memory_is_told_and_tried_again(runtime_dir: Path, tmp_path: Path) -> None:
    """Nobody learns by SIGBUS: its error and the log give the figures; it gets a lane once there is memory."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(PLENTY)
    with EngineProcess(runtime_dir, variables={"NS_TEST_PROC": str(tmp_path)}) as engine, engine.client() as first:
        wait_serving(first)
        meminfo.write_text("MemAvailable: 0 kB\n")
        told = r"lane \d of a shared segment needs .* 0\.0 MB are available"
        with pytest.raises(NotReady, match=told), engine.client(wait_s=1.0):
            pass
        assert ask(first, 1.0)[2] == 1.0
        with ThreadPoolExecutor(1) as pool:
            attach = functools.partial(EngineClient.attach, runtime_dir=str(runtime_dir), settings=engine.settings)
            attaching = pool.submit(attach, wait_s=60)
            wait_for(lambda: serving(first)["lanes"]["waiting"] == 1, "another one to wait")
            meminfo.write_text(PLENTY)
            second = attaching.result()
        assert ask(second, 2.0)[2] == 2.0
        second.close()


@pytest.mark.parametrize("end", ["left", "killed", "killed without a supervisor"])
def test_the_memory_of_a_lane_goes_with_its_owner(engine: EngineProcess, end: str) -> None:
    """As status tells it."""

    def allocated_bytes(free: int) -> int:
        def look() -> int:
            found = serving(client)
            return found["segment_bytes"] if found and found["lanes"]["free"] == free else 0

        return wait_for(look, f"{free} lanes to be free")

    with engine.client(wait_s=60) as client:
        wait_serving(client)
        alone = allocated_bytes(5)
        with engine.client() if end == "left" else engine.frontend() as other:
            assert allocated_bytes(4) > alone
            if end == "killed without a supervisor":
                engine.kill_supervisor()
            if isinstance(other, subprocess.Popen):
                other.kill()
                other.wait()
            if end == "killed without a supervisor":
                engine.start()
        assert allocated_bytes(5) == alone


def test_a_request_of_a_client_without_a_lane_says_why(runtime_dir: Path) -> None:
    """All attached before anything was deployed, so that nobody had to wait then."""
    with EngineProcess(runtime_dir, enabled="false") as engine, contextlib.ExitStack() as stack:
        lanes = 2 * engine.settings.workers + 4
        clients = [stack.enter_context(engine.client()) for _ in range(lanes + 1)]
        deploy(clients[0], "echo", "second")
        wait_for(lambda: serving(clients[0], "second")["lanes"]["waiting_pids"] == [os.getpid()], "one to be without")
        wait_for(lambda: clients[-1].state("second") == "ready", "everybody to know of it")
        with pytest.raises(NotReady, match="no lane for this process: all .* raise `workers`"):
            ask(clients[-1], 1.0, "second")
        assert ask(clients[0], 1.0, "second")[2] == 1.0
