"""The weights change under a version that serves: it stays what it was, or another version follows."""

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
    wait_all_free,
    wait_serving,
)
from tests.supervisor.load import Load
from tests.support.wait import wait_for

NAME = "weights"


def deploy_from(client: EngineClient, path: Path, pool_size: int) -> None:
    options = {"pool_size": pool_size}
    reading = spec(f"reads:{path}:echo")
    client.request("deploy", timeout_s=ANSWER_S, deployment=NAME, spec=reading, options=options)


def test_an_instance_that_loads_other_weights_does_not_join(runtime_dir: Path) -> None:
    """One of two is restarted after the file changed: all answers stay those of the old weights, and status says why
    there is one instance less. Put back, the old weights bring it in again."""
    weights = runtime_dir / "w"
    weights.write_text("old")
    with EngineProcess(runtime_dir, enabled="false") as engine, engine.client() as client:
        deploy_from(client, weights, 2)
        killed, kept = ready_pids(client, 2, NAME)
        weights.write_text("new")
        with Load(client, 2, NAME) as load:
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: "changed since version 1" in status(client, NAME)["reason"], "the reason in status")
            load.wait_answered(20)
        told = status(client, NAME)
        assert told["state"] == "ready"
        assert "model_version old then, new now" in told["reason"] and "redeploy" in told["reason"]
        assert load.versions == {1} and ask(client, 1.0, NAME)[1] == kept
        assert serving(client, NAME)["model"]["model_version"] == "old"
        assert serving(client, NAME)["restarts"] <= 2
        weights.write_text("old")
        ready_pids(client, 2, NAME)
        assert status(client, NAME)["reason"] == ""


def test_with_nobody_left_another_version_follows_and_no_request_fails(runtime_dir: Path) -> None:
    weights = runtime_dir / "w"
    weights.write_text("old")
    with EngineProcess(runtime_dir, enabled="false") as engine, engine.client() as client:
        deploy_from(client, weights, 1)
        weights.write_text("new")
        with Load(client, 2, NAME) as load:
            load.wait_answered(5)
            os.kill(ready_pids(client, 1, NAME)[0], signal.SIGKILL)
            load.wait_version(2)
            load.wait_answered(5)
        assert serving(client, NAME)["model"]["model_version"] == "new"
        wait_for(lambda: len(status(client, NAME)["versions"]) == 1, "the old version to be gone")
        assert status(client, NAME)["reason"] == ""
        wait_all_free(client, NAME)


def test_other_weights_that_cannot_serve_do_not_end_the_deployment(runtime_dir: Path) -> None:
    """Nobody is left, and the version that would follow fails: it is said so, and the old weights heal it."""
    weights = runtime_dir / "w"
    weights.write_text("old")
    with EngineProcess(runtime_dir, enabled="false") as engine, engine.client() as client:
        moody = spec(f"reads:{weights}:fail_warmup_of_new")
        client.request("deploy", timeout_s=ANSWER_S, deployment=NAME, spec=moody, options={"pool_size": 1})
        weights.write_text("new")
        os.kill(ready_pids(client, 1, NAME)[0], signal.SIGKILL)
        wait_for(lambda: client.state(NAME) == "failed", "the users to be told")
        assert "changed since version 1" in status(client, NAME)["reason"]
        weights.write_text("old")
        wait_serving(client, NAME)
        assert ask(client, 1.0, NAME)[0] == 1.0
