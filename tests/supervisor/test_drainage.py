"""A deployment that is drained takes nothing new, loses nothing, and goes on when it may."""

from __future__ import annotations

from typing import Any

import pytest

from engine.client import EngineClient
from engine.core.lifecycle import DeploymentState, as_seen
from engine.errors import NotReady, UnknownDeployment
from engine.spec import DEFAULT_DEPLOYMENT_ID
from engine.supervisor.ledger import STATE_FILE
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    ask,
    deploy,
    refused,
    serving,
    status,
    submit,
    wait_all_free,
    wait_serving,
)
from tests.support.wait import wait_for


def drain(client: EngineClient, **fields: Any) -> dict[str, object]:
    return client.request("drain", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID, **fields)


def assert_refuses(client: EngineClient) -> None:
    with pytest.raises(NotReady, match="is drained"):
        submit(client)


def test_what_is_in_it_is_answered_and_nothing_new_is_taken(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        deploy(client, "slow")
        tickets = [submit(client, value) for value in range(60)]  # more than there are slots
        assert drain(client)["drained"] is True
        assert [ticket.wait()[0].probabilities[2] for ticket in tickets] == list(range(60))
        slots = serving(client)["slots"]
        assert slots["free"] == slots["total"]
        assert (status(client)["state"], status(client)["drained"]) == ("drained", True)
        assert serving(client)["ready"] > 0  # it keeps its instances
        assert not client.ready(DEFAULT_DEPLOYMENT_ID)
        assert_refuses(client)
        assert drain(client, resume=True)["drained"] is False
        wait_serving(client)
        assert ask(client, 7)[2] == 7
        wait_all_free(client)


def test_a_successor_keeps_it_drained_and_a_deploy_ends_that(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        drain(client)
        engine.kill_supervisor()
        engine.start()
        wait_for(lambda: status(client).get("state") == "drained", "a successor that has it drained")
        assert_refuses(client)
        version = deploy(client, "echo")
        wait_serving(client)
        assert ask(client)[0] == version
        assert status(client)["drained"] is False


def test_it_stays_drained_though_the_state_file_is_lost_with_the_supervisor(engine: EngineProcess) -> None:
    state_file = engine.runtime_dir / STATE_FILE

    def taken_over() -> bool:
        assert_refuses(client)
        return state_file.exists()

    with engine.client() as client:
        wait_serving(client)
        deploy(client, "echo", "other")
        drain(client)
        before = pids(client)
        engine.lose(state_file)
        wait_for(taken_over, "a successor to know again what is desired")
        assert (status(client)["drained"], status(client, "other")["drained"]) == (True, False)
        assert_refuses(client)
        ask(client, deployment="other")
        assert pids(client) == before
        drain(client, resume=True)
        wait_serving(client)
        ask(client)


def pids(client: EngineClient) -> set[int]:
    return {each["pid"] for each in serving(client)["instances"]}


def test_only_what_is_there_can_be_drained(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        assert isinstance(refused(client, "drain", deployment="nobody"), UnknownDeployment)
        assert "true or false" in str(refused(client, "drain", deployment=DEFAULT_DEPLOYMENT_ID, resume="no"))
        assert status(client)["state"] == "ready"


@pytest.mark.parametrize("state", DeploymentState)
def test_an_order_to_take_nothing_hides_no_other_reason(state: DeploymentState) -> None:
    admits = state in (DeploymentState.STARTING, DeploymentState.READY)
    assert as_seen(state, drained=True) is (DeploymentState.DRAINED if admits else state)
    assert as_seen(state, drained=False) is state
