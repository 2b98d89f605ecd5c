"""All instances of a version compute in one form; where it cannot be had any more the model as it came goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from engine.client import EngineClient
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    ask,
    ready_pids,
    serving,
    spec,
    status,
    wait_serving,
)
from tests.supervisor.load import Load
from tests.support.wait import wait_for

NAME = "formed"
FORM = "onnxruntime-fp32"


def deploy(client: EngineClient, behaviour: str, pool_size: int) -> None:
    options = {"pool_size": pool_size}
    client.request("deploy", timeout_s=ANSWER_S, deployment=NAME, spec=spec(behaviour), options=options)


def test_an_instance_that_cannot_compute_in_the_form_of_the_others_does_not_join(runtime_dir: Path) -> None:
    possible = runtime_dir / "form"
    possible.write_text(FORM)
    with EngineProcess(runtime_dir, enabled="false") as engine, engine.client() as client:
        deploy(client, f"reads:{possible}:only_as", 2)
        killed, kept = ready_pids(client, 2, NAME)
        assert serving(client, NAME)["model"]["model_version"] == f"weights+{FORM}"
        possible.write_text("openvino-fp32")
        with Load(client, 2, NAME) as load:
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: "can only as eager" in status(client, NAME)["reason"], "the reason in status")
            load.wait_answered(20)
        assert load.versions == {1} and ask(client, 1.0, NAME)[1] == kept
        possible.write_text(FORM)
        ready_pids(client, 2, NAME)


def test_with_nobody_left_who_has_the_form_the_model_as_it_came_follows_and_no_request_fails(runtime_dir: Path) -> None:
    possible = runtime_dir / "form"
    possible.write_text(FORM)
    with EngineProcess(runtime_dir, enabled="false") as engine, engine.client() as client:
        deploy(client, f"reads:{possible}:only_as", 1)
        possible.write_text("eager")
        with Load(client, 2, NAME) as load:
            load.wait_answered(5)
            os.kill(ready_pids(client, 1, NAME)[0], signal.SIGKILL)
            load.wait_version(2)
            load.wait_answered(5)
        assert serving(client, NAME)["model"]["model_version"] == "weights"


def test_a_form_that_takes_its_process_down_is_followed_by_the_model_as_it_came(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, enabled="false") as engine, engine.client() as client:
        deploy(client, "behaviour:die_unless_eager", 1)
        wait_serving(client, NAME)
        assert ask(client, 1.0, NAME)[0] == 1.0
        assert serving(client, NAME)["restarts"] == 1
