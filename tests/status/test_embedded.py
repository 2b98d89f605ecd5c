"""The status server of engines that somebody else keeps: a keeper, a program; and of two on one machine."""

from __future__ import annotations

import socket
from pathlib import Path

from engine.config import load_settings
from engine.manager.host import EngineHost
from tests.status.asking import Asking
from tests.supervisor.engine_process import EngineProcess
from tests.support.server import free_port
from tests.support.wait import wait_for


def test_under_a_keeper_it_listens_and_its_files_go_with_the_engine(runtime_dir: Path) -> None:
    asking = Asking(runtime_dir)
    with EngineProcess(runtime_dir, program="keeper"):
        wait_for(lambda: asking.path.exists() and asking.get("/healthz").status == 200, "the status server")
    assert not asking.path.exists() and not (runtime_dir / "admin.token").exists()


def test_the_second_engine_of_a_machine_has_its_socket_and_no_port(runtime_dir: Path, tmp_path: Path) -> None:
    port, second_dir = free_port(), runtime_dir / "second"
    second_dir.mkdir(mode=0o700)
    first, second = Asking(runtime_dir), Asking(second_dir)
    with EngineProcess(runtime_dir, status_port=port), EngineProcess(second_dir, status_port=port) as late:
        for asking in (first, second):
            wait_for(lambda: asking.path.exists() and asking.get("/healthz").status == 200, "both to answer")
        pids = {asking.get("/status").json["supervisor"]["pid"] for asking in (first, second)}
        assert len(pids) == 2
        with socket.create_connection(("127.0.0.1", port)):
            pass  # one of the two has it
        assert late.process is not None and late.process.poll() is None


def test_an_engine_that_a_program_has_started_has_one(runtime_dir: Path) -> None:
    host = EngineHost(load_settings().changed(runtime_dir=str(runtime_dir)))
    host.start()
    try:
        assert wait_for(lambda: Asking(runtime_dir).get("/healthz").status == 200, "the status server")
    finally:
        host.stop()
    assert not (runtime_dir / "status.sock").exists()
