"""The status server of engines that somebody else keeps: a keeper, a program; and of two on one machine."""

from __future__ import annotations

import socket
from pathlib import Path

from engine.config import load_settings
from engine.manager.host import EngineHost
from frontend.server.page_address import PageAddress
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
    with EngineProcess(runtime_dir, status_port=port) as one, EngineProcess(second_dir, status_port=port) as other:
        engines = (one, other)
        for asking in (first, second):
            wait_for(lambda: asking.path.exists() and asking.get("/healthz").status == 200, "both to answer")
        said = [asking.get("/status").json for asking in (first, second)]
        assert len({each["supervisor"]["pid"] for each in said}) == 2
        wait_for(lambda: _ports_told(first, second) == {f"127.0.0.1:{port}", None}, "one of the two to have the port")
        wanted = {"", f"no status server at 127.0.0.1:{port}: another process has the port"}
        wait_for(lambda: _troubles(first, second) == wanted, "the other one to have tried")
        with socket.create_connection(("127.0.0.1", port)):
            pass
        told = [PageAddress(each.settings.changed(runtime_dir=str(each.runtime_dir))).url() for each in engines]
        assert sorted(told) == ["", f"http://127.0.0.1:{port}/"], "whoever starts a server is told of its own page"


def _troubles(*asked: Asking) -> set[str]:
    return {each.get("/status").json["status_server"]["trouble"] for each in asked}


def test_an_engine_that_a_program_has_started_has_one(runtime_dir: Path) -> None:
    host = EngineHost(load_settings().changed(runtime_dir=str(runtime_dir)))
    host.start()
    try:
        assert wait_for(lambda: Asking(runtime_dir).get("/healthz").status == 200, "the status server")
    finally:
        host.stop()
    assert not (runtime_dir / "status.sock").exists()


def _ports_told(*engines: Asking) -> set[str | None]:
    return {asking.get("/status").json["status_server"]["address"] for asking in engines}
