"""Another version in place of one that serves, under load, and the end of a deployment."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from engine.client import EngineClient
from engine.errors import DeploymentFailed, EngineError, UnknownDeployment
from engine.messages import sealed_memfd
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    ask,
    deploy,
    ready_pids,
    refused,
    spec,
    status,
    submit,
    tell,
    told,
    wait_all_free,
    wait_serving,
)
from tests.supervisor.load import Load
from tests.support.wait import wait_for


def test_swaps_under_load_fail_no_request(engine: EngineProcess) -> None:
    with engine.client() as client, engine.client() as other:
        wait_serving(client)
        with Load(client, 3) as one, Load(other, 3) as two:
            for behaviour in ("slow", "echo", "echo"):
                version = deploy(client, behaviour)
                one.wait_version(version)
                two.wait_version(version)
        assert one.versions | two.versions == {1, 2, 3, 4}
        wait_for(lambda: len(status(client)["versions"]) == 1, "the old versions to be gone")
        wait_for(lambda: len(engine.pids()) == 1 + len(ready_pids(client, 2)), "the old instances to be gone")
        wait_all_free(client)


def test_a_swap_survives_deaths_on_both_sides(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        old = ready_pids(client, 2)
        with Load(client, 2) as load:
            flag = engine.runtime_dir / "flag"
            swap = threading.Thread(target=deploy, args=(client, f"once:{flag}:die_warmup"))
            swap.start()
            os.kill(old[0], signal.SIGKILL)
            swap.join()
            wait_for(lambda: 2 in load.versions, "answers of version 2")
        wait_all_free(client)


def test_a_swap_that_fails_leaves_the_old_version_serving(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        with Load(client, 2) as load:
            error = refused(client, "deploy", deployment=DEFAULT_DEPLOYMENT_ID, spec=spec("fail_load"), options={})
            assert isinstance(error, DeploymentFailed)
            assert "no luck" in str(error)
            load.wait_answered(10)
        assert load.versions == {1}
        assert status(client)["state"] == "ready"
        assert deploy(client, "echo") == 3


def test_a_second_deploy_takes_the_place_of_one_that_starts(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        first: list[EngineError] = []
        order = {"deployment": DEFAULT_DEPLOYMENT_ID, "spec": spec("echo"), "options": {}}
        waiting = threading.Thread(target=lambda: first.append(refused(client, "deploy", **order)))
        waiting.start()
        wait_for(lambda: len(status(client)["versions"]) == 2, "the first to start")
        assert deploy(client, "echo") == 3
        waiting.join()
        assert "came in between" in str(first[0])
        assert ask(client)[0] == 3


def test_undeploy_answers_what_is_under_way_and_leaves_nothing(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        deploy(client, "slow", "second")
        tickets = [submit(client, value, "second") for value in range(60)]
        client.request("undeploy", timeout_s=ANSWER_S, deployment="second")
        assert [ticket.wait()[0].probabilities[2] for ticket in tickets[:32]] == list(range(32))
        assert status(client, "second") == {}
        wait_for(lambda: client.deployments() == [DEFAULT_DEPLOYMENT_ID], "the news to arrive")
        with pytest.raises(UnknownDeployment):
            submit(client, 0.0, "second")
        assert ask(client, 4.0)[2] == 4.0
        deploy(client, "echo", "second")
        assert ask(client, 5.0, "second")[2] == 5.0


def test_undeploy_ends_what_is_only_starting(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        refusals: list[EngineError] = []
        order = {"deployment": "second", "spec": spec("echo"), "options": {}}
        waiting = threading.Thread(target=lambda: refusals.append(refused(client, "deploy", **order)))
        waiting.start()
        wait_for(lambda: status(client, "second"), "the second to start")
        client.request("undeploy", timeout_s=ANSWER_S, deployment="second")
        waiting.join()
        assert refusals[0].code == "CLOSING"
        assert status(client, "second") == {}


def test_a_pickled_factory_reaches_every_instance_and_is_forgotten(engine: EngineProcess) -> None:
    """Unpickled by nobody here: these bytes are no pickle. Each instance reads them from their start."""
    with engine.client() as client:
        memfd = sealed_memfd("factory", b"echo")
        order = {"deployment": "pickled", "spec": {"source": "pickle"}, "options": {}}
        client.request("deploy", timeout_s=ANSWER_S, fds=[memfd], **order)
        os.close(memfd)
        stored = list((engine.runtime_dir / "factories").iterdir())
        assert [path.stat().st_mode & 0o777 for path in stored] == [0o600]
        for pid in ready_pids(client, 2, "pickled"):
            os.kill(pid, signal.SIGKILL)
        assert ask(client, 6.0, "pickled")[2] == 6.0
        client.request("undeploy", timeout_s=ANSWER_S, deployment="pickled")
        assert list((engine.runtime_dir / "factories").iterdir()) == []


def test_a_factory_that_could_still_change_is_refused(engine: EngineProcess) -> None:
    with engine.client() as client:
        fd = os.memfd_create("open", os.MFD_CLOEXEC)
        error = refused(client, "deploy", deployment="p", spec={"source": "pickle"}, options={}, fds=[fd])
        os.close(fd)
        assert error.code == "PROTOCOL"


def test_terminate_while_busy_ends_within_its_bound(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, behaviour="stuck", drain_s=0.2) as engine, engine.client() as client:
        wait_serving(client)
        tickets = [submit(client, value) for value in range(50)]
        assert engine.stop() == 0
        assert not (runtime_dir / "control.sock").exists()
        assert not (runtime_dir / "state.json").exists()
        for ticket in tickets:
            ticket.cancel()


def test_shutdown_by_order(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        client.request("shutdown", timeout_s=ANSWER_S)
        assert engine.process is not None
        assert engine.process.wait(15) == 0
        wait_for(lambda: engine.pids() == [], "every process to be gone")


def test_an_undeploy_that_a_stopped_process_holds_up_names_it(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, behaviour="slow", model_pool_size=1, request_timeout_ms=1000) as engine:
        with engine.client() as client, engine.frontend() as frontend:
            wait_serving(client)
            tell(frontend, "hold 8")
            assert told(frontend) == "held"
            frontend.send_signal(signal.SIGSTOP)
            order = threading.Thread(target=undeploy, args=(client,))
            order.start()
            wait_for(lambda: f"not let go yet: {frontend.pid}" in status(client)["reason"], "the one that is stopped")
            frontend.send_signal(signal.SIGCONT)
            order.join(20)
            assert not order.is_alive()


def undeploy(client: EngineClient) -> None:
    client.request("undeploy", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID)
