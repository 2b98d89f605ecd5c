"""A model that is served as it came, then in the form that real trials have found, under requests all the time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from engine.client import EngineClient, Item
from engine.clock import Deadline
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import EngineProcess, status, wait_serving
from tests.support.wait import wait_for
from tests.trials.models import FRAMES
from tests.trials.noises import noises

FORM = "onnxruntime-fp32"
TUNED_S = 100.0
PAUSE_S = 0.02  # between requests: without one they take a core from the trials, which are waited for
SOUNDS = np.random.default_rng(3).uniform(-0.5, 0.5, (6, FRAMES)).astype(np.float32)


def engine(runtime_dir: Path, state_dir: Path, factory: str = "small", **settings: object) -> EngineProcess:
    own = {"tuning": "on", "model_pool_size": 1, "max_batch_size": 4, "model_warmup_requests": 1, "trial_limit_s": 100}
    given: dict[str, Any] = {**own, "model_factory": f"tests.trials.models:{factory}", **settings}
    return EngineProcess(runtime_dir, program="tuned", state_dir=state_dir, **given)


def answers(client: EngineClient) -> np.ndarray:
    """Probabilities of each sound."""
    items = [Item(sound) for sound in SOUNDS]
    ticket = client.submit(DEFAULT_DEPLOYMENT_ID, items, request_id="r", deadline=Deadline.after_s(60))
    return np.stack([answer.probabilities for answer in ticket.wait()])


def tuning(client: EngineClient) -> dict[str, Any]:
    found: dict[str, Any] = status(client)["tuning"]
    return found


def wait_over(client: EngineClient) -> dict[str, Any]:
    """What is said of tuning once it is over, figures included."""

    def found() -> dict[str, Any]:
        told = tuning(client)
        return told if told["state"] in ("none", "failed") or told["state"] == "won" and told["speedup"] else {}

    return wait_for(found, "tuning to be over", timeout_s=TUNED_S)


def trial_pids(running: EngineProcess) -> list[int]:
    """Of everything that tries forms."""
    return [pid for pid in running.pids() if b"engine.trials" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def instance_memory_mb(client: EngineClient) -> float:
    """Of the serving instance, its own."""
    pid = status(client)["versions"][0]["instances"][0]["pid"]
    return float(psutil.Process(pid).memory_full_info().uss) / 1e6


@contextmanager
def load(client: EngineClient) -> Iterator[list[np.ndarray]]:
    """Requests one after the other; what they were answered with. None may fail."""
    found: list[np.ndarray] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            found.append(answers(client))
            over.wait(PAUSE_S)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_a_model_is_served_at_once_and_faster_later_and_nobody_notices(runtime_dir: Path, tmp_path: Path) -> None:
    calibration_dir = noises(tmp_path)
    with engine(runtime_dir, tmp_path, calibration_dir=calibration_dir) as running, running.client() as client:
        wait_serving(client)
        assert client.description(DEFAULT_DEPLOYMENT_ID).form == "eager"
        eager, eager_mb = answers(client), instance_memory_mb(client)
        base = client.description(DEFAULT_DEPLOYMENT_ID).model_version
        with load(client) as found:
            told = wait_over(client)
            count = len(found)
            wait_for(lambda: len(found) > count + 3, "answers in that form")
        assert (told["state"], told["form"]) == ("won", FORM), told
        assert all(np.abs(each - eager).max() < 1e-3 for each in found)
        description = client.description(DEFAULT_DEPLOYMENT_ID)
        assert (description.form, description.model_version) == (FORM, f"{base}+{FORM}")
        assert instance_memory_mb(client) < eager_mb + 30
        wait_for(lambda: not trial_pids(running), "trials to be gone")
    with engine(runtime_dir, tmp_path, calibration_dir=calibration_dir) as running, running.client() as client:
        wait_serving(client)
        assert client.description(DEFAULT_DEPLOYMENT_ID).form == FORM
        assert np.abs(answers(client) - eager).max() < 1e-3
        assert wait_over(client)["state"] == "won" and not trial_pids(running)


def test_trials_that_are_killed_or_stopped_leave_the_model_served_and_nothing_else(
    runtime_dir: Path, tmp_path: Path
) -> None:
    with engine(runtime_dir, tmp_path, trial_limit_s=1) as running, running.client() as client:
        wait_serving(client)
        eager = answers(client)
        os.kill(wait_for(lambda: trial_pids(running), "trials")[0], signal.SIGKILL)
        told = wait_over(client)
        assert "was killed by SIGKILL" in told["reason"] and told["state"] == "failed"
        wait_for(lambda: not trial_pids(running), "all of them to be gone")
        spec = status(client)["versions"][0]["spec"]
        client.request("deploy", timeout_s=60, deployment=DEFAULT_DEPLOYMENT_ID, spec=spec, options={})
        os.kill(wait_for(lambda: trial_pids(running), "trials")[0], signal.SIGSTOP)
        told = wait_for(lambda: found if (found := tuning(client))["state"] == "failed" else {}, "the end of trials")
        assert "did not end within 3 s" in told["reason"]
        wait_for(lambda: not trial_pids(running), "all of them to be gone")
        assert np.abs(answers(client) - eager).max() < 1e-6
    assert not list((tmp_path / "tuning").glob("*.work/tmp/*"))
