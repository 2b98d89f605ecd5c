"""A supervisor that takes over: what was counted never seems to have been less, and pages that are open go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from engine.spec import DEFAULT_DEPLOYMENT_ID as DEPLOYMENT
from tests.status.asking import Asking
from tests.supervisor.engine_process import EngineProcess, ask, ready_pids, wait_serving
from tests.support.wait import wait_for

COUNTED = f'nightscan_predictions_total{{deployment="{DEPLOYMENT}",status="success"}}'


def counted(asking: Asking) -> float | None:
    """As Prometheus reads it; None while it is not told, or nobody listens."""
    try:
        said = asking.get("/metrics")
    except OSError:
        return None
    lines = said.body.decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(COUNTED)), None)


def test_counters_wait_for_those_who_hold_them(runtime_dir: Path) -> None:
    asking = Asking(runtime_dir)
    with EngineProcess(runtime_dir) as engine, engine.client() as client:
        wait_serving(client)
        stopped = ready_pids(client, 2)[0]
        for _ in range(10):
            ask(client)
        token = asking.token
        wait_for(lambda: counted(asking) == 10.0, "ten to be counted")
        os.kill(stopped, signal.SIGSTOP)  # a successor waits for it
        engine.kill_supervisor()
        engine.start()
        found = wait_for(lambda: _until_told(asking), "a successor that tells them")
        os.kill(stopped, signal.SIGCONT)
        assert found == 10.0
        assert asking.token == token
        said = asking.get("/status", asking.bearer)
        assert said.json["figures"][DEPLOYMENT]["succeeded"] == 10


def _until_told(asking: Asking) -> float | None:
    """What /metrics says first; meanwhile /status answers, without figures."""
    try:
        said = asking.get("/status")
    except OSError:
        return None
    if said.status == 200 and not said.json["figures"]:
        assert said.json["supervisor"]["pid"]
    return counted(asking)
