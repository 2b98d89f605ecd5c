"""Trials beside a deployment that serves: what they find is swapped in, and nothing that befalls them is noticed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.client import EngineClient
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import (
    EngineProcess,
    ask,
    deploy,
    ready_pids,
    refused,
    serving,
    spec,
    status,
    wait_serving,
)
from tests.supervisor.programs.trial import INT8, VARIABLE, WINNER
from tests.support.wait import wait_for

LIMIT_S = 60


class Trials:
    """How the next trials behave, and which there were."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "trial"
        self.behave("wins")

    def behave(self, behaviour: str) -> None:
        self.path.write_text(behaviour)

    def go(self) -> None:
        """Those that wait end."""
        self.path.with_suffix(".go").touch()

    @property
    def pids(self) -> list[int]:
        """Of all that were started."""
        started = self.path.with_suffix(".started")
        return [int(line) for line in started.read_text().split()] if started.exists() else []

    @property
    def living(self) -> list[int]:
        return [pid for pid in self.pids if os.path.exists(f"/proc/{pid}")]


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    return Trials(tmp_path)


@pytest.fixture
def tuned(runtime_dir: Path, trials: Trials) -> Iterator[Callable[..., EngineProcess]]:
    """Makes engines that tune, in one folder."""

    def made(**settings: object) -> EngineProcess:
        own = {"tuning": "on", "trial_limit_s": LIMIT_S, "state_dir": str(trials.path.parent / "state"), **settings}
        return EngineProcess(runtime_dir, variables={VARIABLE: str(trials.path)}, **own)  # type: ignore[arg-type]

    yield made


def tuning(client: EngineClient, deployment: str = DEFAULT_DEPLOYMENT_ID) -> dict[str, Any]:
    found: dict[str, Any] = status(client, deployment).get("tuning", {})
    return found


def wait_tuning(client: EngineClient, state: str, deployment: str = DEFAULT_DEPLOYMENT_ID) -> dict[str, Any]:
    """What status says of it once that is its state."""

    def found() -> dict[str, Any]:
        told = tuning(client, deployment)
        return told if told.get("state") == state else {}

    return wait_for(found, f"tuning to be {state}")


def model_version(client: EngineClient) -> str:
    return client.description(DEFAULT_DEPLOYMENT_ID).model_version


@contextmanager
def load(client: EngineClient) -> Iterator[list[float]]:
    """Requests without a pause; afterwards, the versions that have answered. None may fail."""
    versions: list[float] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            versions.append(ask(client)[0])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield versions
    finally:
        over.set()
        thread.join()


def test_what_serves_eager_is_tried_and_the_winner_takes_its_place(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    trials.behave("waits")
    with tuned() as engine, engine.client() as client:
        wait_serving(client)
        told = wait_tuning(client, "running")
        wait_for(lambda: tuning(client)["candidates"], "a candidate")
        assert model_version(client) == "weights" and told["form"] == "eager"
        with load(client) as versions:
            trials.go()
            told = wait_tuning(client, "won")
            wait_for(lambda: versions and versions[-1] == 2, "the next version to answer")
        assert versions == sorted(versions) and versions[0] == 1  # and each was answered
        assert model_version(client) == f"weights+{WINNER}" and serving(client)["version"] == 2
        assert (told["form"], told["winner"], told["speedup"], told["reason"]) == (WINNER, WINNER, 1.5, "")
        candidates = {each["form"]: each for each in told["candidates"]}
        assert candidates[WINNER]["items_per_s"] == 30.0 and candidates[WINNER]["agreement"]["windows"] == 512
        assert candidates[INT8]["needs"] == "auto" and candidates["eager"]["agreement"] is None
        counters = client.counters
        wait_for(lambda: counters(DEFAULT_DEPLOYMENT_ID).tuning == tuning(client), "frontends to be told the same")
        assert len(trials.pids) == 1 and not trials.living


def test_instances_that_die_are_replaced_in_their_form_though_recordings_have_arrived(
    tuned: Callable[..., EngineProcess], tmp_path: Path
) -> None:
    """And so the name changed under which instances of today would look for it."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    with tuned(calibration_dir=str(recordings)) as engine, engine.client() as client:
        wait_tuning(client, "won")
        (recordings / "tonight.wav").touch()
        first = ready_pids(client, 2)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not set(first) & set(ready_pids(client, 2)), "others in their place")
        assert model_version(client) == f"weights+{WINNER}" and serving(client)["version"] == 2


def test_a_restart_serves_the_tuned_form_at_once_and_tries_nothing(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    with tuned() as engine, engine.client() as client:
        wait_tuning(client, "won")
    with tuned() as engine, engine.client() as client:
        wait_serving(client)
        assert model_version(client) == f"weights+{WINNER}" and serving(client)["version"] == 1
        assert wait_tuning(client, "won")["form"] == WINNER
        wait_for(lambda: tuning(client)["speedup"] == 1.5, "the figures")
    assert len(trials.pids) == 1


TROUBLES = {
    "crashes": "was killed by SIGSEGV",
    "is killed": "was killed by SIGKILL, by nobody here",
    "eats memory": "more memory than 512 MB (trial_memory_mb)",
    "prints nonsense": "exited with 7",
    "floods": "printed more than 1 MB",
    "says nothing": "what trials found cannot be read",
    "damages": "what trials found cannot be read",
    "gives a reason": "no luck at all",
}


def test_whatever_befalls_trials_the_model_serves_on_and_one_line_says_why(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    with tuned(enabled=False, trial_memory_mb=512, model_pool_size=1) as engine, engine.client() as client:
        for number, (behaviour, reason) in enumerate(TROUBLES.items(), 1):
            trials.behave(behaviour)
            assert deploy(client, "echo") == number
            told = wait_tuning(client, "failed")
            assert reason in told["reason"] and "\n" not in told["reason"]
            assert ask(client)[0] == number and model_version(client) == "weights"
            assert len(trials.pids) == number and not trials.living
        trials.behave("wins")
        deploy(client, "echo")  # which is how they are asked for again
        assert wait_tuning(client, "won")["form"] == WINNER


def test_trials_that_hang_are_ended_with_all_that_they_have_started(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    trials.behave("hangs")
    with tuned(trial_limit_s=1) as engine, engine.client() as client:
        told = wait_tuning(client, "failed")
        assert "did not end within 2 s" in told["reason"] and len(trials.pids) == 2
        wait_for(lambda: not trials.living, "both to be gone")
        assert ask(client)[0] == 1


def test_no_other_form_is_faster(tuned: Callable[..., EngineProcess], trials: Trials) -> None:
    trials.behave("none")
    with tuned() as engine, engine.client() as client:
        told = wait_tuning(client, "none")
        assert told["form"] == "eager" and told["reason"] == "nothing is worth a swap" and told["candidates"]
        assert serving(client)["version"] == 1


def test_a_precision_that_cannot_be_had_stops_the_deployment_with_the_reason(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    trials.behave("refuses")
    with tuned(precision="int8") as engine, engine.client() as client:
        wait_for(lambda: status(client).get("state") == "failed", "the deployment to fail")
        reason = status(client)["reason"]
        assert "precision=int8 cannot be had" in reason and "top-1 agreement" in reason
        wait_for(lambda: not status(client)["versions"], "its instances to be gone")


def test_an_instance_that_cannot_serve_the_winner_serves_eager_and_says_why(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    with tuned() as engine, engine.client() as client:
        wait_serving(client)
        deploy(client, "eager")
        told = wait_tuning(client, "failed")
        assert told["reason"] == f"{WINNER} could not be served: no such runtime here"
        assert told["form"] == "eager" and ask(client)[0] == serving(client)["version"]


def test_a_deployment_may_say_for_itself_whether_it_is_tuned(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    with tuned() as engine, engine.client() as client:
        wait_tuning(client, "won")
        client.request("deploy", timeout_s=30, deployment="b", spec=spec("echo"), options={"tuning": "off"})
        assert tuning(client, "b")["state"] == "off"
        wrong = refused(client, "deploy", deployment="b", spec=spec("echo"), options={"precision": "fp8"})
        assert "precision='fp8': one of fp32" in str(wrong)
    assert len(trials.pids) == 1


def test_deployments_are_tried_one_after_the_other(tuned: Callable[..., EngineProcess], trials: Trials) -> None:
    trials.behave("waits")
    with tuned() as engine, engine.client() as client:
        wait_tuning(client, "running")
        # Another key: what is found for the first is not for the second.
        client.request("deploy", timeout_s=30, deployment="b", spec=spec("echo"), options={"max_batch_size": 3})
        wait_tuning(client, "waiting", "b")
        assert len(trials.living) == 1
        trials.go()
        wait_tuning(client, "won")
        wait_tuning(client, "won", "b")


def test_a_deploy_and_an_undeploy_end_trials(tuned: Callable[..., EngineProcess], trials: Trials) -> None:
    trials.behave("waits")
    with tuned() as engine, engine.client() as client:
        wait_for(lambda: trials.living, "trials")
        deploy(client, "echo")
        wait_for(lambda: len(trials.pids) == 2 and len(trials.living) == 1, "the second trials alone")
        client.request("undeploy", timeout_s=30, deployment=DEFAULT_DEPLOYMENT_ID)
        wait_for(lambda: not trials.living, "no trials")


def test_a_deploy_that_fails_leaves_what_serves_to_be_tried(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    trials.behave("waits")
    with tuned() as engine, engine.client() as client:
        wait_tuning(client, "running")
        refused(client, "deploy", deployment=DEFAULT_DEPLOYMENT_ID, spec=spec("fail_load"), options={})
        trials.go()
        assert wait_tuning(client, "won")["form"] == WINNER
        assert serving(client)["version"] == 3


def test_trials_die_with_a_killed_supervisor_and_its_successor_makes_them(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    trials.behave("waits")
    with tuned() as engine, engine.client() as client:
        wait_for(lambda: trials.living, "trials")
        engine.kill_supervisor()
        wait_for(lambda: not trials.living, "no trials")
        assert ask(client)[0] == 1
        engine.start()
        wait_for(lambda: len(trials.pids) == 2, "trials anew")
        trials.go()
        assert wait_tuning(client, "won")["form"] == WINNER
        assert ask(client)[0] == serving(client)["version"] == 2


def test_a_supervisor_killed_in_the_middle_of_the_swap(tuned: Callable[..., EngineProcess], trials: Trials) -> None:
    with tuned() as engine, engine.client() as client:
        wait_for(lambda: tuning(client).get("state") == "swapping" or serving(client).get("version") == 2, "the swap")
        engine.kill_supervisor()
        engine.start()
        assert wait_tuning(client, "won")["form"] == WINNER
        wait_for(lambda: model_version(client) == f"weights+{WINNER}", "the form that won")
        assert ask(client)[0] == serving(client)["version"]


def test_the_end_of_the_engine_ends_trials(tuned: Callable[..., EngineProcess], trials: Trials) -> None:
    trials.behave("hangs")
    with tuned():
        wait_for(lambda: len(trials.living) == 2, "trials, and what they have started")
    wait_for(lambda: not trials.living, "no trials")


def test_a_precision_that_this_machine_does_not_have_is_refused_before_anything_starts(
    tuned: Callable[..., EngineProcess], trials: Trials
) -> None:
    with tuned(precision="int8", tuning="off") as engine, engine.client() as client:
        wait_for(lambda: status(client).get("state") == "failed", "the configured deployment to fail")
        assert status(client)["reason"] == "precision=int8 cannot be had: tuning=off"
        assert not status(client)["versions"]
        assert "tuning=off" in str(refused(client, "deploy", deployment="b", spec=spec("echo"), options={}))
        client.request("deploy", timeout_s=30, deployment="b", spec=spec("echo"), options={"precision": "fp32"})
        assert ask(client, deployment="b")[0] == 1
