"""The supervisor dies between two stores, at each place where that is delicate; its successor sorts it out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.client import EngineClient
from engine.errors import EngineError
from tests.supervisor.engine_process import (
    EngineProcess,
    ask,
    deploy,
    ready_pids,
    serving,
    status,
    tell,
    told,
    wait_all_free,
    wait_serving,
)
from tests.supervisor.load import Load
from tests.support.wait import wait_for

POINTS = [
    *("name.half", "name.half:2", "attach.named", "attach.named:2", "name.half:3"),
    *("ready.told", "ready.told:2", "ready.go", "ready.go:2", "ready.go:3"),
    *("assign.half", "assign.half:2", "lane.assigned", "lane.assigned:2"),
    *("vacate.half", "sweep.slot", "sweep.slot:5", "fold.targets", "fold.totals"),
    *("deploy.written", "deploy.written:2", "serve.written", "serve.written:2", "close.set"),
]


@contextmanager
def successor_for(engine: EngineProcess) -> Iterator[threading.Event]:
    """Starts another supervisor once the first is dead; the event says that it happened."""
    died, over = threading.Event(), threading.Event()

    def watch() -> None:
        first = engine.process
        assert first is not None
        while not over.is_set():
            if first.poll() is not None:
                assert first.returncode == -signal.SIGKILL
                engine.start()
                died.set()
                return
            over.wait(0.01)

    thread = threading.Thread(target=watch, name="successor")
    thread.start()
    try:
        yield died
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("point", POINTS)
def test_killed_there_nothing_is_lost(runtime_dir: Path, point: str) -> None:
    """Start, attach, lose a frontend with work in slots, lose an instance, swap: one of them reaches the point."""
    engine = EngineProcess(runtime_dir)
    engine.start(crash_point=point)
    with engine, successor_for(engine) as died, engine.client(wait_s=60) as client:
        wait_serving(client)
        with engine.frontend() as frontend, Load(client, 2) as load:
            tell(frontend, "ask 3")
            assert told(frontend).split()[2] == "3.0"
            pids = ready_pids(client, 2)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)  # so that the frontend dies with its slots full
            tell(frontend, "hold 10")
            assert told(frontend) == "held"
            frontend.send_signal(signal.SIGKILL)
            frontend.wait()
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            load.wait_answered(5)
            os.kill(pids[0], signal.SIGKILL)
            load.wait_answered(5)
            _swap(client)
            load.wait_answered(5)
        assert died.wait(10), f"{point} was never reached"
        ready_pids(client, 2)
        wait_for(lambda: len(status(client)["versions"]) == 1, "one version to be left")
        wait_for(lambda: serving(client)["lanes"]["free"] == 5, "all lanes but ours to be free")
        wait_all_free(client)
        wait_for(lambda: len(engine.pids()) == 3, "only what serves to be left")
        assert ask(client, 4.0)[2] == 4.0


def test_a_lane_that_its_owner_never_heard_of_stops_nobody(runtime_dir: Path) -> None:
    """Killed between giving a lane and telling so, and all instances killed too: nobody knows that lane's bell."""
    engine = EngineProcess(runtime_dir)
    engine.start(crash_point="lane.assigned")
    with engine, ThreadPoolExecutor(1) as pool:
        attaching = pool.submit(EngineClient.attach, runtime_dir=str(runtime_dir), wait_s=60, settings=engine.settings)
        assert engine.process is not None
        assert engine.process.wait(20) == -signal.SIGKILL
        for pid in engine.pids():
            os.kill(pid, signal.SIGKILL)
        engine.start()
        client = attaching.result()
        wait_serving(client)
        assert ask(client, 3.0)[2] == 3.0
        ready_pids(client, 2)
        client.close()


def _swap(client: EngineClient) -> None:
    """A swap that may meet the death of the supervisor; then the successor carries it out or has never heard of it."""
    try:
        deploy(client, "echo")
    except EngineError as error:
        assert error.code in ("PEER_GONE", "NOT_READY"), error
