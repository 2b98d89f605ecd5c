"""Whatever step of the supervisor fails: nobody dies, no request fails, status says so, and it heals by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.client import EngineClient
from engine.errors import EngineError
from engine.supervisor.ledger import STATE_FILE
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    ask,
    deploy,
    ready_pids,
    refused,
    spec,
    status,
    wait_serving,
)
from tests.supervisor.failing_engine import failing_engine, is_well
from tests.supervisor.load import Load
from tests.supervisor.programs.failing import SYSTEM, system_call
from tests.supervisor.programs.trial import VARIABLE as TRIAL_VARIABLE
from tests.supervisor.test_tuner import wait_tuning
from tests.support.wait import wait_for

OTHER = "other"
TOGETHER = int(os.environ.get("NIGHTSCAN_FAILING_TOGETHER", "8"))  # steps that fail in the same round; 1: each alone

# Everything that the loop calls, or that somebody's message sets going, while frontends and deployments come and go.
STEPS = [
    *("Listener._accept", "Peer._read", "Frontends._died", "Frontends.add", "Frontends.drop"),
    *("Reception.accept", "Reception._first_parcel", "Reception._hello_frontend", "Reception._hello_instance"),
    *("Reception._frontend_parcel", "Reception._frontend_lost", "Reception.frontend_died"),
    *("Recorder.persist", "Recorder._write", "Reception.welcome_who_may", "Deployments._gone"),
    *("Supervisor.keep_files", "RuntimeFolder.look", "Ledger.write", "Totals.write"),
    *("Shares._look", "Shares._lend"),
    *("Orders._begin", "Orders._try", "Orders._written", "Recorder._done"),
    *("Pool._start", "Pool.connect", "Pool._on_parcel", "Pool._died", "Pool.resize"),
    *("ServingVersion.start", "ServingVersion.instance_connected", "ServingVersion.instance_loaded"),
    *("ServingVersion.instance_ready", "ServingVersion._attach_loaded"),
    *("ServingVersion.offer", "ServingVersion._lane_given", "ServingVersion.retire", "LaneQueue.add"),
    *("LaneQueue.serve", "Announcements.send_living", "Announcements.announce", "Announcements.forget"),
    *("Version.instance_died", "Version.frontend_died", "Version.frontend_left"),
    *("ClosingVersion.close", "ClosingVersion._announce", "ClosingVersion.look", "ClosingVersion.frontend_idle"),
    *("ClosingVersion._dismiss", "ClosingVersion.pool_changed", "ClosingVersion._release", "ClosingVersion._put_away"),
    *("Departures.dismiss", "Pool.stop_filling", "Pool.empty", "Seats.remove"),
    *("Deployment.version_opened", "Deployment.version_serves", "Deployment.version_changed"),
    *("Deployment.version_gone", "Deployment.tell_state", "Deployment.offer", "Deployment._leave_if_empty"),
    *("LaneTable.assign", "LaneTable.look_again", "LaneTable.frontend_died", "LaneTable._sweep"),
    *("Placement.apply", "Carrier.carry", "Carrier.leave", "Carrying.carry", "Carrying.leave"),
    *("Steward.new_name", "Steward.mark_go", "Steward.clear_row", "Steward.sweep", "Plane.attach_fds"),
]
ORDERS = ["Requests.handle", "Requests._deploy", "Requests._undeploy", "Deployment.deploy", "Deployment.undeploy"]
AFTER = [
    *("Pool._died", "Pool._start", "Pool._on_parcel", "ServingVersion.instance_connected"),
    *("ServingVersion.instance_loaded", "ServingVersion.instance_ready", "ServingVersion._attach_loaded"),
    *("LaneQueue.serve", "Version.instance_died", "Deployment.version_serves"),
    *("ClosingVersion.close", "ClosingVersion._announce", "ClosingVersion.look", "ClosingVersion._dismiss"),
    *("ClosingVersion._release", "ClosingVersion.pool_changed", "Departures.dismiss", "Pool.empty"),
    *("Deployment.version_gone", "Frontends._died", "Reception.frontend_died", "Recorder.persist"),
    *("Listener._accept", "Peer._read", "Steward.clear_row", "Ledger.write"),
]
TUNING_STEPS = [
    *("Tuner.look", "Tuner._look_at", "Tuner._read", "Trial.start"),  # then there are no trials
    *("Tuner._found", "Tuner._start_next_trial", "Tuner._try", "Tuner._tell"),
    *("Tuner._hear", "Tuner._ended", "Trial._hear", "Trial._died", "Trial.kill"),
]
SWAP_STEPS = ["Tuner._swap", "Tuner._found", "Deployment.deploy", "Tuner.look"]
DEATH = ["ServingVersion.pool_changed", "Version.instance_died", "Seat.lost", "Placement.apply"]


class Churn:
    """Frontends and a deployment that come and go, one after the other, inside `with`."""

    def __init__(self, engine: EngineProcess, client: EngineClient) -> None:
        self._engine = engine
        self._client = client
        self._stop = threading.Event()
        self.rounds = 0
        self._threads = [
            threading.Thread(target=self._run, args=(act,), name="churn") for act in (self._deploy, self._visit)
        ]

    def __enter__(self) -> Churn:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, act: Any) -> None:
        while not self._stop.is_set():
            try:
                act()
            except EngineError:
                self._stop.wait(0.01)  # an order that was refused is given again
            self.rounds += 1

    def _deploy(self) -> None:
        options = {"pool_size": 1}
        self._client.request("deploy", timeout_s=ANSWER_S, deployment=OTHER, spec=spec("echo"), options=options)
        assert ask(self._client, 7.0, OTHER)[2] == 7.0
        self._client.request("undeploy", timeout_s=ANSWER_S, deployment=OTHER)

    def _visit(self) -> None:
        with self._engine.client():
            pass
        if self.rounds % 4 == 0:
            with self._engine.frontend():
                pass  # killed, with its lane


def test_an_exception_in_any_step_costs_no_instance_and_no_request(runtime_dir: Path) -> None:
    with failing_engine(runtime_dir) as (engine, board), engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        assert engine.process is not None
        with Load(client, 1), Churn(engine, client):
            for when, steps in (("before", STEPS + ORDERS), ("after", AFTER)):
                for first in range(0, len(steps), TOGETHER):
                    board.arm(*steps[first : first + TOGETHER], when=when)
                    board.wait_failed(when)
                    assert engine.process.poll() is None, board.left()
        wait_for(lambda: is_well(client), "everything to heal")
        assert ready_pids(client, 2) == pids
        assert ask(client, 3.0)[2] == 3.0
        board.arm(*DEATH)
        os.kill(pids[0], signal.SIGKILL)
        wait_for(lambda: not board.left(), f"{DEATH} to fail")
        wait_for(lambda: is_well(client), "everything to heal")
        assert len({*ready_pids(client, 2), *pids}) == 3


def held(engine: EngineProcess) -> Counter[str]:
    """What the supervisor has open, by kind; without files."""
    assert engine.process is not None
    found: Counter[str] = Counter()
    for each in Path(f"/proc/{engine.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[os.readlink(each).partition("[" if "socket" in os.readlink(each) else " ")[0]] += 1
    return Counter({kind: count for kind, count in found.items() if not kind.startswith("/") or "memfd" in kind})


def test_no_system_call_that_is_refused_costs_an_instance_a_request_or_a_descriptor(runtime_dir: Path) -> None:
    calls = [system_call(owner, name) for owner, name, _ in SYSTEM]
    with failing_engine(runtime_dir) as (engine, board), engine.client() as client:
        wait_serving(client)
        pids = ready_pids(client, 2)
        wait_for(lambda: is_well(client), "everything to be there")
        before = held(engine)
        with Load(client, 1), Churn(engine, client):
            for first in range(0, len(calls), TOGETHER):
                board.arm(*calls[first : first + TOGETHER])
                board.wait_failed("before")
        wait_for(lambda: is_well(client), "everything to heal")
        assert ready_pids(client, 2) == pids
        deploy(client, "echo", OTHER)  # whichever step the last one was refused in
        client.request("undeploy", timeout_s=ANSWER_S, deployment=OTHER)
        wait_for(lambda: held(engine) == before, f"{before} to be all that is open")


def desired(runtime_dir: Path) -> object:
    """What the state file says; not who is there, since instances come and go meanwhile."""
    return json.loads((runtime_dir / STATE_FILE).read_text())["deployments"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_order_that_fails_in_the_middle_changes_nothing_and_can_be_given_again(runtime_dir: Path, when: str) -> None:
    """What it would have replaced stays, on disk too; nothing is left to itself."""
    orders: list[tuple[str, dict[str, Any]]] = [
        ("drain", {}),
        ("drain", {"resume": True}),
        ("scale", {"pool_size": 2}),
        ("deploy", {"spec": spec("echo"), "options": {"pool_size": 1}}),
        ("undeploy", {}),
    ]
    with failing_engine(runtime_dir) as (engine, board), engine.client() as client:
        wait_serving(client)
        before = len(engine.pids())
        deploy(client, "echo", OTHER)
        for op, fields in orders:
            known, written = status(client, OTHER), desired(runtime_dir)
            board.arm("Recorder.commit", when=when)
            error = refused(client, op, deployment=OTHER, **fields)
            assert f"order {op} failed" in str(error) and "injected" in str(error)
            assert not board.left()
            assert status(client, OTHER)["state"] == known["state"]
            wait_for(lambda: desired(runtime_dir) == written, f"{op} to be undone on disk")
            client.request(op, timeout_s=ANSWER_S, deployment=OTHER, **fields)
        wait_for(lambda: len(engine.pids()) == before, "its processes to have ended")


def test_who_leaves_while_its_lane_cannot_be_taken_is_forgotten_once_it_can(runtime_dir: Path) -> None:
    with failing_engine(runtime_dir) as (engine, board), engine.client() as client:
        wait_serving(client)
        with engine.client():
            board.arm("Version.frontend_left")
        wait_for(lambda: not board.left() and is_well(client), "it to be done again")
        assert engine.process is not None
        pidfds = [os.readlink(each) for each in Path(f"/proc/{engine.process.pid}/fd").iterdir()]
        assert pidfds.count("anon_inode:[pidfd]") == len(ready_pids(client, 2)) + 1


def test_what_nobody_offers_is_begun_anew_until_that_succeeds(runtime_dir: Path) -> None:
    """All are dead, and the first try of each deployment fails."""
    with failing_engine(runtime_dir) as (engine, board):
        with engine.client() as client:
            wait_serving(client)
            deploy(client, "echo", OTHER)
        engine.kill_supervisor()
        engine.end_all()
        board.arm("Deployment.deploy", count=2)
        engine.start()
        with engine.client() as client:
            wait_serving(client)
            wait_serving(client, OTHER)
            assert ask(client, 3.0, OTHER)[2] == 3.0
        assert not board.left()


def test_an_exception_in_any_step_of_tuning_costs_no_request_and_no_tuning(runtime_dir: Path, tmp_path: Path) -> None:
    trials = tmp_path / "trial"
    trials.write_text("gives a reason")
    variables = {TRIAL_VARIABLE: str(trials)}
    with failing_engine(runtime_dir, variables, tuning="on", state_dir=tmp_path) as (engine, board):
        with engine.client() as client:
            wait_tuning(client, "failed")
            with Load(client, 1):
                for when in ("before", "after"):
                    for first in range(0, len(TUNING_STEPS), TOGETHER):
                        steps = TUNING_STEPS[first : first + TOGETHER]
                        board.arm(*steps, when=when)
                        deploy(client, "echo")
                        board.wait_failed(when)
                        wait_tuning(client, "failed")
                trials.write_text("waits")
                for step in SWAP_STEPS:
                    shutil.rmtree(tmp_path / "tuning", ignore_errors=True)
                    trials.with_suffix(".go").unlink(missing_ok=True)
                    deploy(client, "echo")
                    wait_tuning(client, "running")
                    board.arm(step)
                    trials.with_suffix(".go").touch()
                    wait_tuning(client, "won")
                    wait_for(lambda: not board.left(), f"{step} to fail")
            wait_for(lambda: is_well(client), "everything to heal")
