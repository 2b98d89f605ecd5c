"""Frontends behind a socket that somebody else holds: nobody is refused a connection, and nobody hangs in it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.support.http import fetch
from tests.support.server import ROOT, TOKEN, free_port, processes_with
from tests.support.service import SETTING, ServiceProcess, held_socket, port_of, services
from tests.support.wait import wait_for
from tests.transport.models import GATE
from tests.transport.test_engine_server import PREDICT, recording

MODEL = {"model_factory": "tests.transport.models:gated_at_start", "model_pool_size": 1, "model_warmup_requests": 1}


@pytest.mark.parametrize("lane", ["auto", "off"])
def test_a_frontend_without_a_lane_answers_503_after_a_while_and_serves_once_it_has_one(
    runtime_dir: Path, lane: str
) -> None:
    gate = runtime_dir / "gate"
    settings: dict[str, object] = {"workers": 1, "attach_s": 0.3, "fast_lane": lane, **MODEL}
    environment = {GATE: str(gate)}
    with held_socket() as held:
        address = ("127.0.0.1", port_of(held))
        engine = ServiceProcess("nightscan-engine.service", runtime_dir, settings, environment=environment)
        frontend = ServiceProcess("nightscan-frontend.service", runtime_dir, settings, held=held)
        with services(engine, frontend):
            frontend.start(ready=False)
            answer = fetch(address, "POST", PREDICT, recording())  # has waited in the socket until now
            assert (answer.status, answer.json()["code"]) == (503, "NOT_READY") and answer.headers["retry-after"]
            assert "no answer from the engine" in frontend.manager.wait_for("STATUS=waiting")
            assert not any("supervisor" in each for each in frontend.processes().values()), "it has started an engine"
            engine.start(ready=False)
            frontend.manager.wait_for("is starting")
            assert fetch(address, "GET", "/ready").status == 503
            assert "READY=1" not in frontend.manager.listen() + engine.manager.listen()
            gate.touch()
            engine.wait_ready()
            frontend.wait_ready()
            assert fetch(address, "POST", PREDICT, recording()).status == 200


def test_the_service_manager_hears_why_a_model_is_not_served(runtime_dir: Path) -> None:
    settings: dict[str, object] = {**MODEL, "model_factory": "tests.transport.models:no_such", "port": free_port()}
    unit = ServiceProcess("nightscan.service", runtime_dir, {**settings, "fast_lane": "off", "workers": 1})
    with services(unit):
        unit.start(ready=False)
        assert "no_such" in unit.manager.wait_for("is failed (")
        answer = fetch(("127.0.0.1", int(str(settings["port"]))), "POST", PREDICT, recording())
        assert answer.status == 503 and "READY=1" not in unit.manager.listen()


def test_systemds_own_socket_activation_serves(runtime_dir: Path) -> None:
    port, token = free_port(), uuid.uuid4().hex
    settings = {**MODEL, "model_factory": "tests.transport.models:gated", "workers": 1, "tuning": "off"}
    given = {f"{SETTING}{name.upper()}": str(value) for name, value in settings.items()}
    given |= {f"{SETTING}RUNTIME_DIR": str(runtime_dir / "run"), f"{SETTING}STATE_DIR": str(runtime_dir / "state")}
    given |= {TOKEN: token, "PYTHONPATH": str(ROOT), GATE: str(runtime_dir)}
    passed = [part for name in given for part in ("-E", name)]
    activate = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *passed]
    with open(runtime_dir / "log", "wb") as log:
        process = subprocess.Popen(
            [*activate, sys.executable, "-m", "frontend.cli.main", "serve"],
            env={**os.environ, **given}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: "Listening on" in (runtime_dir / "log").read_text(), "it listens")
        answer = fetch(("127.0.0.1", port), "POST", PREDICT, recording())  # the first connection starts it
        assert answer.status == 200, (runtime_dir / "log").read_text()
    finally:
        process.terminate()
        process.wait(20)
        wait_for(lambda: not processes_with(token), "nothing is left", timeout_s=20)
