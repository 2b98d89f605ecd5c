"""Orders for another size of a pool, while something else is done with the deployment."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from engine.messages import connect
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    deploy,
    ready_pids,
    refused,
    serving,
    spec,
    status,
)
from tests.supervisor.failing_engine import failing_engine
from tests.supervisor.load import Load
from tests.supervisor.test_slow_work import answer
from tests.support.wait import wait_for

OTHER = "other"


@pytest.mark.parametrize("end", ["undeploy", "deploy"])
def test_who_waits_for_a_pool_that_will_never_be_hears_so(engine: EngineProcess, end: str) -> None:
    """The version starts for ever, and then something else is wanted."""
    fields = {"deployment": OTHER, "spec": spec("hang_load"), "options": {"pool_size": 1}}
    orders: list[tuple[str, dict[str, Any]]] = [
        ("deploy", fields),
        ("scale", {"deployment": OTHER, "pool_size": 2}),
        (end, {**fields, "spec": spec("fail_load")} if end == "deploy" else {"deployment": OTHER}),
    ]
    with engine.client(), closing(connect(engine.runtime_dir)) as connection:
        for number, (op, given) in enumerate(orders):
            connection.send({"type": "request", "id": number, "op": op, **given})
        codes = {each["id"]: each.get("code") for each in (answer(connection) for _ in range(3))}
    assert codes[1] == codes[0] == ("NOT_READY" if end == "deploy" else "CLOSING")


def test_a_scale_while_the_next_version_starts_holds_for_that_one_too(engine: EngineProcess) -> None:
    with engine.client() as client, ThreadPoolExecutor(1) as pool:
        ready_pids(client, 2)
        gate = engine.runtime_dir / "gate"
        gate.touch()
        deploying = pool.submit(deploy, client, f"while:{gate}:die_load")
        wait_for(lambda: len(status(client)["versions"]) == 2, "the next version to be begun")
        client.request("scale", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID, pool_size=1)
        gate.unlink()
        deploying.result()
        ready_pids(client, 1)
        assert serving(client)["pool_size_wanted"] == 1


def test_a_smaller_pool_is_of_those_that_work(engine: EngineProcess) -> None:
    """The first seat's instance is dead and does not come back: the other one stays when one of two is to go."""
    gate = engine.runtime_dir / "gate"
    with engine.client() as client:
        deploy(client, f"while:{gate}:hang_load", OTHER)
        ready_pids(client, 2, OTHER)
        first, second = (each["pid"] for each in sorted(serving(client, OTHER)["instances"], key=itemgetter("seat")))
        gate.touch()
        with Load(client, 1, OTHER):
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: ready_pids(client, 1, OTHER) == [second], "the other one to be alone")
            client.request("scale", timeout_s=ANSWER_S, deployment=OTHER, pool_size=1)
            assert ready_pids(client, 1, OTHER) == [second]


def test_a_shortage_of_the_machine_costs_no_seat_of_what_serves(runtime_dir: Path) -> None:
    """Who gave the order is told; once there are processes to be had again, the pool is what was asked for."""
    with failing_engine(runtime_dir) as (engine, board), engine.client() as client:
        ready_pids(client, 2)
        board.arm("Pool._spawn", count=4)
        error = refused(client, "scale", deployment=DEFAULT_DEPLOYMENT_ID, pool_size=3)
        assert "cannot start a process" in str(error)
        ready_pids(client, 3)
        assert not board.left()
