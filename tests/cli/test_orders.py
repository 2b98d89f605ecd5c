"""Orders of the command line to an engine that serves, and the page it leads to."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.cli.command_end import CommandEnd
from tests.cli.nightscan import SETTING, Told, nightscan
from tests.supervisor.engine_process import EngineProcess, wait_serving
from tests.support.server import free_port
from tests.support.wait import wait_for


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with tempfile.TemporaryDirectory(prefix="ns-", dir="/tmp") as folder:
        with EngineProcess(Path(folder) / "run", cores=2, status_port=free_port()) as running:
            with running.client() as client:
                wait_serving(client)
            yield running


def ask(engine: EngineProcess, *arguments: str) -> Told:
    port = {f"{SETTING}STATUS_PORT": str(engine.settings.status_port)}
    return nightscan(*arguments, runtime_dir=engine.runtime_dir, variables=port)


def test_scale_says_how_many_there_are_and_a_model_that_is_none_is_refused(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, cores=2, tracebacks=True) as engine:
        with engine.client() as client:
            wait_serving(client)
        one = ask(engine, "scale", DEFAULT_DEPLOYMENT_ID, "1", "--json")
        assert one.code == 0 and json.loads(one.out)["pool_size"] == 1
        many = ask(engine, "scale", DEFAULT_DEPLOYMENT_ID, "8")
        assert many.code == CommandEnd.PARTLY and "has 2 instances, not 8: " in many.out and "core" in many.out
        refused = ask(engine, "deploy", "--factory", "fail_load")
        assert refused.code == CommandEnd.REFUSED and "no luck in load" in refused.err
        assert ask(engine, "status").code == 0  # what serves goes on


def test_without_a_model_that_of_the_running_engine_is_deployed_again(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, cores=2, model_pool_size=1) as engine:
        with engine.client() as client:
            wait_serving(client)
        told = ask(engine, "deploy", "--json")
        assert told.code == 0, told.err
        assert json.loads(told.out)["version"] == 2


def test_a_deployment_that_is_none_is_refused_with_those_that_there_are(engine: EngineProcess) -> None:
    for arguments in (["scale", "bats", "1"], ["undeploy", "bats"], ["drain", "bats"]):
        told = ask(engine, *arguments)
        assert told.code == CommandEnd.REFUSED and told.err.count("\n") == 1
        assert "bats" in told.err and f"there are: {DEFAULT_DEPLOYMENT_ID}" in told.err


def test_drain_and_resume(engine: EngineProcess) -> None:
    drained = ask(engine, "drain", DEFAULT_DEPLOYMENT_ID)
    assert drained.code == 0 and "--resume" in drained.out
    status = ask(engine, "status")
    assert status.code == CommandEnd.PARTLY and f"nightscan drain {DEFAULT_DEPLOYMENT_ID} --resume" in status.words
    resumed = ask(engine, "drain", DEFAULT_DEPLOYMENT_ID, "--resume", "--json")
    assert resumed.code == 0 and json.loads(resumed.out)["drained"] is False
    assert wait_for(lambda: ask(engine, "status").code == 0, "the engine to be well")


def test_the_dashboard_is_the_page_with_the_token(engine: EngineProcess) -> None:
    told = wait_for(lambda: _printed(engine), "the status server to listen")
    assert told is not None
    base, _, token = told.out.strip().partition("/#token=")
    assert base == f"http://127.0.0.1:{engine.settings.status_port}" and len(token) == 43
    request = urllib.request.Request(f"{base}/requests", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def _printed(engine: EngineProcess) -> Told | None:
    told = ask(engine, "dashboard", "--print")
    return told if told.code == 0 else None


def test_a_browser_is_given_a_file_that_nobody_else_can_read(engine: EngineProcess, tmp_path: Path) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$@" > {seen}\n')
    browser.chmod(0o755)
    variables = {"BROWSER": str(browser), f"{SETTING}STATUS_PORT": str(engine.settings.status_port)}
    wait_for(lambda: _printed(engine), "the status server to listen")
    told = nightscan("dashboard", runtime_dir=engine.runtime_dir, variables=variables)
    assert told.code == 0 and "token" not in told.out
    wait_for(seen.exists, "the browser to be started")
    page = engine.runtime_dir / "dashboard.html"
    assert seen.read_text().strip() == page.as_uri() and "token" not in seen.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600 and "#token=" in page.read_text()


def test_whoever_listens_in_place_of_the_engine_is_sent_no_token(runtime_dir: Path) -> None:
    """Anybody may have the port of the settings, before the engine or after it was killed."""
    (runtime_dir / "admin.token").write_text("x" * 43 + "\n")
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        somebody.setblocking(False)
        port = {f"{SETTING}STATUS_PORT": str(somebody.getsockname()[1])}
        told = nightscan("dashboard", "--print", runtime_dir=runtime_dir, variables=port)
        with pytest.raises(BlockingIOError):
            somebody.accept()
    assert told.code == CommandEnd.NOTHING_RUNS and "nightscan status" in told.err and told.out == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_of_somebody_else_is_not_believed(runtime_dir: Path) -> None:
    (runtime_dir / "admin.token").write_text("x" * 43 + "\n")
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(runtime_dir / "status.sock"))
        os.seteuid(65_534)
        try:
            theirs.listen()
        finally:
            os.seteuid(0)
        theirs.setblocking(False)
        told = nightscan("dashboard", "--print", runtime_dir=runtime_dir)
        connection, _ = theirs.accept()
        with connection:
            assert connection.recv(100) == b""
    assert told.code == CommandEnd.REFUSED and "status.sock is served by uid 65534" in told.err and told.out == ""


def test_without_an_engine_there_is_no_page(runtime_dir: Path) -> None:
    told = nightscan("dashboard", "--print", runtime_dir=runtime_dir)
    assert told.code == CommandEnd.NOTHING_RUNS and "nightscan status" in told.err
