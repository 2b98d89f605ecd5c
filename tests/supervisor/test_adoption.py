"""The supervisor is killed at every inconvenient moment: serving goes on, and the next one takes over."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.client import EngineClient, Ticket
from engine.client.roster import Roster
from engine.errors import EngineError
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    ask,
    deploy,
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
from tests.supervisor.load import Load
from tests.support.wait import wait_for


def wait_successor(engine: EngineProcess, client: EngineClient) -> None:
    """Until the client is connected to the supervisor that was started last."""
    assert engine.process is not None
    pid = engine.process.pid

    def connected() -> bool:
        try:
            return bool(client.request("status", timeout_s=ANSWER_S)["supervisor"]["pid"] == pid)
        except EngineError:
            return False

    wait_for(connected, "the client to find the successor")


def test_serving_goes_on_and_the_successor_adopts(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        before = ready_pids(client, 2)
        with Load(client, 3) as load:
            engine.kill_supervisor()
            load.wait_answered(50)
            engine.start()
            wait_successor(engine, client)
            assert ready_pids(client, 2) == before
            assert serving(client)["version"] == 1
            load.wait_answered(50)
        assert load.versions == {1}
        wait_all_free(client)
        assert deploy(client, "echo") == 2
        assert ask(client)[0] == 2


def test_adopted_instances_and_lanes_go_on_to_be_watched(engine: EngineProcess) -> None:
    with engine.client() as client, engine.frontend() as frontend:
        wait_serving(client)
        before = ready_pids(client, 2)
        engine.kill_supervisor()
        engine.start()
        wait_successor(engine, client)
        wait_for(lambda: serving(client)["lanes"]["owners"].keys() == {"0", "1"}, "both lanes to be owned")
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: before[0] not in ready_pids(client, 2), "another instance")
        tell(frontend, "ask 7")
        assert told(frontend).split()[2] == "7.0"
        frontend.send_signal(signal.SIGKILL)
        wait_for(lambda: serving(client)["lanes"]["free"] == 5, "the lane to be free")
        with engine.client() as another:
            assert ask(another, 8.0)[2] == 8.0
        wait_all_free(client)


def test_deaths_while_nobody_watches_are_found_afterwards(engine: EngineProcess) -> None:
    with engine.client() as client, engine.frontend() as frontend:
        wait_serving(client)
        before = ready_pids(client, 2)
        tell(frontend, "ask 7")
        assert told(frontend).split()[2] == "7.0"
        engine.kill_supervisor()
        os.kill(before[0], signal.SIGKILL)
        frontend.send_signal(signal.SIGKILL)
        frontend.wait()
        assert ask(client, 1.0)[1] == before[1]
        engine.start()
        wait_successor(engine, client)
        assert before[1] in ready_pids(client, 2)
        wait_for(lambda: serving(client)["lanes"]["free"] == 5, "the lane of the dead to be free")
        wait_all_free(client)


def test_all_instances_dead_and_frontends_alive_keep_their_version(engine: EngineProcess) -> None:
    """Requests that were put into slots while nobody could answer are answered by new instances."""
    with engine.client() as client:
        wait_serving(client)
        before = ready_pids(client, 2)
        # A moment after it serves; the successor of one that was killed before that begins a version anew.
        wait_for(lambda: '"serving": {' in _state(engine) and f'"pid": {os.getpid()}' in _state(engine), "the state")
        engine.kill_supervisor()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        with Load(client, 2) as load:
            engine.start()
            load.wait_answered(4)
        assert load.versions == {1}
        wait_successor(engine, client)
        assert not set(ready_pids(client, 2)) & set(before)
        with engine.client() as another:
            assert ask(another, 1.0)[0] == 1.0


def test_nobody_left_begins_anew(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        deploy(client, "echo", "second")
        ready_pids(client, 2)
    engine.kill_supervisor()
    engine.end_all()
    engine.start()
    with engine.client() as client:
        wait_serving(client)
        wait_serving(client, "second")
        assert ask(client, 1.0, "second")[2] == 1.0
        assert len(ready_pids(client, 2)) == 2


def test_a_deployment_that_was_starting_is_started_again(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        lost: list[EngineError] = []
        order = {"deployment": DEFAULT_DEPLOYMENT_ID, "spec": spec("slow"), "options": {}}
        waiting = threading.Thread(target=lambda: lost.append(refused(client, "deploy", **order)))
        waiting.start()
        # By its name: of the version that serves the file may say for a moment longer that it is starting.
        wait_for(lambda: '"slow"' in _state(engine), "the plan to be written down")
        engine.kill_supervisor()
        waiting.join()
        assert lost[0].code == "PEER_GONE"
        assert ask(client, 1.0)[0] == 1.0
        engine.start()
        wait_successor(engine, client)
        wait_for(lambda: serving(client).get("spec", {}).get("location") == "slow", "the new version to serve")
        assert ask(client, 1.0)[2] == 1.0
        wait_for(lambda: len(status(client)["versions"]) == 1, "the old version to be gone")
        wait_all_free(client)
        wait_for(lambda: len(engine.pids()) == 1 + len(ready_pids(client, 2)), "surplus instances to be gone")


def test_a_version_that_was_closing_is_closed(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        deploy(client, "stuck", "second")
        pids = ready_pids(client, 2, "second")
        with Load(client, 1), Load(client, 1, "second", may_fail=True):
            order = threading.Thread(target=_undeploy, args=(client, "second"))
            order.start()
            wait_for(lambda: "second" not in _state(engine), "the order to be written down")
            engine.kill_supervisor()
            order.join()
            engine.start()
            wait_successor(engine, client)
            wait_for(lambda: not set(pids) & set(engine.pids()), "its instances to be gone")
            wait_for(lambda: status(client, "second") == {}, "it to be forgotten")


def test_settings_that_changed_meanwhile_are_swapped_in(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir) as engine, engine.client() as client:
        wait_serving(client)
        engine.kill_supervisor()
        engine.behave("slow")
        engine.start()
        wait_successor(engine, client)
        wait_for(lambda: serving(client).get("spec", {}).get("location") == "behaviour:slow", "the new settings")
        assert ask(client, 1.0)[2] == 1.0


@pytest.mark.parametrize("round_number", range(3))
def test_killed_at_any_moment_under_load(engine: EngineProcess, round_number: int) -> None:
    """Twice per round, after a different number of answers, with a swap and a death under way."""
    with engine.client() as client:
        wait_serving(client)
        with Load(client, 3) as load:
            for _ in range(2):
                swap = threading.Thread(target=_try_deploy, args=(client,))
                swap.start()
                load.wait_answered(1 + 10 * round_number)
                engine.kill_supervisor()
                swap.join()
                load.wait_answered(20)
                engine.start()
                wait_successor(engine, client)
            load.wait_answered(20)
        ready_pids(client, 2)
        wait_for(lambda: len(status(client)["versions"]) == 1, "one version to be left")
        wait_all_free(client)
        wait_for(lambda: len(engine.pids()) == 3, "only what serves to be left")


def test_the_state_file_is_private(engine: EngineProcess) -> None:
    with engine.client() as client:
        wait_serving(client)
        path = engine.runtime_dir / "state.json"
        assert path.stat().st_mode & 0o777 == 0o600
        assert engine.runtime_dir.stat().st_mode & 0o777 == 0o700
        assert json.loads(path.read_bytes())["deployments"][0]["deployment"] == DEFAULT_DEPLOYMENT_ID


def test_a_state_file_that_is_nonsense_is_no_obstacle(runtime_dir: Path) -> None:
    (runtime_dir / "state.json").write_text('{"deployments": [{"x": 1}]')
    with EngineProcess(runtime_dir) as engine, engine.client() as client:
        wait_serving(client)


def _state(engine: EngineProcess) -> str:
    return (engine.runtime_dir / "state.json").read_text()


def _undeploy(client: EngineClient, deployment: str) -> None:
    try:
        client.request("undeploy", timeout_s=ANSWER_S, deployment=deployment)
    except EngineError as error:
        assert error.code == "PEER_GONE", error


def _try_deploy(client: EngineClient) -> None:
    try:
        deploy(client, "echo")
    except EngineError as error:
        assert error.code in ("PEER_GONE", "NOT_READY"), error


def test_a_state_file_that_was_lost_with_its_supervisor_is_known_to_the_instances(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, model_pool_size=1) as engine, engine.client() as client:
        wait_serving(client)
        deploy(client, "echo", "ordered")
        before = [ready_pids(client, 1, name) for name in (DEFAULT_DEPLOYMENT_ID, "ordered")]
        with Load(client, 1) as load, Load(client, 1, "ordered") as other:
            engine.lose(runtime_dir / "state.json")
            wait_successor(engine, client)
            wait_for((runtime_dir / "state.json").exists, "the state")
            load.wait_answered(20)
            other.wait_answered(20)
        assert [ready_pids(client, 1, name) for name in (DEFAULT_DEPLOYMENT_ID, "ordered")] == before
        os.kill(before[1][0], signal.SIGKILL)
        wait_for(lambda: ready_pids(client, 1, "ordered") != before[1], "another instance of what was ordered")


def test_what_begins_anew_gives_way_to_a_version_of_the_same_number(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left that says that there was an engine here: no state, no lock, and then somebody comes with it.

    A request comes between any two messages to the client, each read when what came before it has been answered.
    """
    handle = Roster.handle
    between: list[Ticket] = []
    refusals: list[str] = []

    def handle_and_ask(self: Roster, message: dict[str, Any], fds: list[int]) -> None:
        time.sleep(0.02)
        handle(self, message, fds)
        try:
            between.append(submit(client))
        except EngineError as error:
            refusals.append(f"{error} after {message['type']}")

    with EngineProcess(runtime_dir, model_pool_size=1) as engine, engine.client() as client:
        wait_serving(client)
        monkeypatch.setattr(Roster, "handle", handle_and_ask)
        with Load(client, 2) as load:
            engine.lose(runtime_dir)
            wait_successor(engine, client)
            load.wait_version(2)
        wait_for(lambda: len(status(client)["versions"]) == 1, "the first one to be gone")
        assert len(between) > 3 and not refusals, refusals
        for ticket in between:
            ticket.wait()
        wait_all_free(client)
