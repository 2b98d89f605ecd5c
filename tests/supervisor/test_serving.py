"""An engine that runs: lanes for frontends, instances that die, frontends that die, and orders."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from engine.client import EngineClient
from engine.errors import DeploymentFailed, ModelCrashed, NotReady
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    ask,
    ready_pids,
    refused,
    serving,
    spec,
    status,
    submit,
    tell,
    told,
    wait_all_free,
    wait_serving,
)
from tests.supervisor.programs.instance import DEADLY
from tests.support.wait import wait_for


def test_a_frontend_gets_a_lane_and_its_answers(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        tickets = [submit(client, value) for value in range(100)]
        answers = [ticket.wait()[0].probabilities.tolist() for ticket in tickets]
        assert [answer[2] for answer in answers] == list(range(100))
        assert {answer[1] for answer in answers} <= set(map(float, pids))
        wait_all_free(client)


def test_killed_instances_are_replaced_and_no_request_is_lost(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        before = ready_pids(client, 2)
        tickets = [submit(client, value) for value in range(20)]
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        tickets += [submit(client, value) for value in range(20, 40)]
        assert [ticket.wait()[0].probabilities[2] for ticket in tickets] == list(range(40))
        after = wait_for(lambda: _others(client, before), "two new instances")
        assert not set(after) & set(before)
        assert serving(client)["restarts"] == 2
        wait_all_free(client)


def _others(client: EngineClient, before: list[int]) -> list[int]:
    found = [pid for pid in ready_pids(client, 2) if pid not in before]
    return found if len(found) == 2 else []


def test_an_item_that_kills_two_instances_gets_a_verdict_and_the_pool_recovers(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        ready_pids(client, 2)
        with pytest.raises(ModelCrashed):
            ask(client, DEADLY)
        assert ask(client, 5.0)[2] == 5.0
        ready_pids(client, 2)
        wait_all_free(client)


def test_a_killed_frontends_lane_goes_to_the_next(runtime_dir: Path) -> None:
    """Six lanes for one worker: six frontends, the seventh waits until one of them is dead."""
    with EngineProcess(runtime_dir, behaviour="slow") as engine, engine.client() as client:
        wait_serving(client)
        others = [engine.client() for _ in range(4)]
        clients = [other.__enter__() for other in others]
        with engine.frontend() as doomed:
            tell(doomed, "hold 30")
            assert told(doomed) == "held"
            with pytest.raises(NotReady), engine.client(wait_s=0.3):
                pass
            doomed.send_signal(signal.SIGKILL)
            with engine.client() as heir:
                assert ask(heir, 1.0)[2] == 1.0
        for other, attached in zip(others, clients, strict=True):
            assert ask(attached, 2.0)[2] == 2.0
            other.__exit__(None, None, None)
        wait_all_free(client)
        wait_for(lambda: serving(client)["lanes"]["free"] == 5, "all lanes but ours to be free")


def test_a_frontend_that_leaves_gives_its_lane_back(engine: EngineProcess) -> None:
    """More clients one after the other than there are lanes, all in one living process."""
    for number in range(9):
        with engine.client() as client:
            wait_serving(client)
            assert ask(client, number)[2] == number


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("fail_load", "no luck in load"),
        ("fail_warmup", "no luck in warmup"),
        ("die_load", "killed by SIGKILL while its model was loaded"),
        ("die_warmup", "killed by SIGKILL while its model warmed up"),
        ("huge", "segment needs"),
    ],
)
def test_a_model_that_never_boots_fails_with_its_reason(runtime_dir: Path, behaviour: str, reason: str) -> None:
    with EngineProcess(runtime_dir, behaviour=behaviour) as engine, engine.client() as client:
        wait_for(lambda: client.state(DEFAULT_DEPLOYMENT_ID) == "failed", "the deployment to fail")
        with pytest.raises(DeploymentFailed, match=reason):
            submit(client)
        assert reason in status(client)["reason"]
        wait_for(lambda: len(engine.pids()) == 1, "every instance to be gone")


def test_a_failed_deployment_can_be_deployed_again(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, behaviour="fail_load") as engine, engine.client() as client:
        wait_for(lambda: client.state(DEFAULT_DEPLOYMENT_ID) == "failed", "the deployment to fail")
        client.request("deploy", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID, spec=spec("echo"), options={})
        wait_serving(client)
        assert ask(client, 1.0)[:1] == [2.0]


def test_one_bad_start_is_forgiven(engine: EngineProcess) -> None:
    with engine.client() as client:
        flag = engine.runtime_dir / "flag"
        for behaviour in ("fail_load", "die_warmup"):
            flag.unlink(missing_ok=True)
            once = spec(f"once:{flag}:{behaviour}")
            client.request("deploy", timeout_s=ANSWER_S, deployment="once", spec=once, options={})
            ready_pids(client, 2, "once")


def test_a_model_that_has_served_is_tried_on_and_its_users_are_told(engine: EngineProcess) -> None:
    with engine.client() as client:
        flag = engine.runtime_dir / "flag"
        moody, alone = spec(f"while:{flag}:fail_load"), {"pool_size": 1}
        client.request("deploy", timeout_s=ANSWER_S, deployment="moody", spec=moody, options=alone)
        flag.touch()
        os.kill(ready_pids(client, 1, "moody")[0], signal.SIGKILL)
        wait_for(lambda: client.state("moody") == "failed", "the users to be told")
        with pytest.raises(DeploymentFailed, match="no luck"):
            submit(client, 1.0, "moody")
        flag.unlink()
        wait_serving(client, "moody")
        assert ask(client, 1.0, "moody")[2] == 1.0


def test_an_instance_with_another_model_is_not_let_in(engine: EngineProcess) -> None:
    """Two instances that describe different models: one serves, the other is refused."""
    with engine.client() as client:
        client.request("deploy", timeout_s=ANSWER_S, deployment="odd", spec=spec("unlike"), options={})
        wait_for(lambda: "changed since version 1" in status(client, "odd")["reason"], "the odd one to be refused")
        assert status(client, "odd")["state"] == "ready"
        assert len(ready_pids(client, 1, "odd")) == 1


def test_scale_up_and_down(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, model_pool_size=1) as engine, engine.client() as client:
        wait_serving(client)
        ready_pids(client, 1)
        client.request("scale", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID, pool_size=2)
        ready_pids(client, 2)
        client.request("scale", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID, pool_size=1)
        ready_pids(client, 1)
        wait_for(lambda: len(engine.pids()) == 2, "the surplus instance to be gone")
        assert ask(client, 1.0)[2] == 1.0


def test_orders_that_cannot_be_carried_out_are_refused_by_name(engine: EngineProcess) -> None:
    with engine.client() as client:
        orders: list[tuple[str, dict[str, Any], str]] = [
            ("dance", {}, "INVALID_FIELD"),
            ("undeploy", {"deployment": "nobody"}, "UNKNOWN_DEPLOYMENT"),
            ("scale", {"deployment": "nobody", "pool_size": 1}, "UNKNOWN_DEPLOYMENT"),
            ("scale", {"deployment": DEFAULT_DEPLOYMENT_ID, "pool_size": 0}, "INVALID_FIELD"),
            ("scale", {"deployment": DEFAULT_DEPLOYMENT_ID, "pool_size": "many"}, "PROTOCOL"),
            ("deploy", {"deployment": "", "spec": spec("echo")}, "INVALID_FIELD"),
            ("deploy", {"deployment": "x", "spec": {"nonsense": 1}}, "PROTOCOL"),
            ("deploy", {"deployment": "x", "spec": spec("echo"), "options": {"pool": 1}}, "INVALID_FIELD"),
            ("deploy", {"deployment": "x", "spec": spec("echo"), "options": {"devices": "tpu"}}, "INVALID_FIELD"),
            ("deploy", {"deployment": "x", "spec": {"source": "pickle"}}, "PROTOCOL"),
        ]
        for op, fields, code in orders:
            error = refused(client, op, **fields)
            assert error.code in (code, "BROKEN"), (op, fields, error)  # clients know InvalidField by its text only
        assert status(client, "x") == {}
        wait_serving(client)
