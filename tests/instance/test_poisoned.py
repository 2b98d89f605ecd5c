"""An instance that cannot compute any more, in a whole engine: it leaves, and only the culprit hears of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from engine.manager import SyncModelServingManager
from engine.testing.models import POISON
from tests.client.stage import wait_until
from tests.instance.conftest import FRAMES
from tests.manager.conftest import Deploy, deploy, engine_dir, manager
from tests.serving.counting_client import series_of
from tests.status.asking import Asking

__all__ = ["deploy", "engine_dir", "manager"]

INNOCENT = 60


def version(manager: SyncModelServingManager) -> dict[str, Any]:
    """What status says of the one version there is."""
    found: dict[str, Any] = manager.core.client.request("status", timeout_s=20)["deployments"][0]["versions"][0]
    return found


def restarts_counted(engine_dir: Path) -> float:
    """What a scraper is told of instances that took the place of one that had died."""
    text = Asking(engine_dir).get("/metrics").body.decode()
    found = series_of(text).items()
    return sum(value for name, value in found if name.startswith("nightscan_engine_instance_restarts_total"))


def test_a_poisoned_instance_leaves_and_the_innocent_are_answered(
    manager: SyncModelServingManager, deploy: Deploy, engine_dir: Path
) -> None:
    options = {"input_shape": (FRAMES,), "pool_size": 2, "max_batch_size": 4}
    deploy("t", "engine.testing.models:troubled", **options)
    wait_until(lambda: version(manager)["ready"] == version(manager)["pool_size"], "all instances work")
    wait_until(lambda: all(each["max_batch_size"] == 4 for each in version(manager)["instances"]), "they say what fits")
    wait_until(lambda: all(each["counters"]["progress"] for each in version(manager)["instances"]), "their loops turn")
    before = {each["pid"] for each in version(manager)["instances"]}
    sounds = np.random.default_rng(3).uniform(-0.3, 0.3, (INNOCENT + 1, FRAMES)).astype(np.float32)
    sounds[INNOCENT // 2, 0] = POISON
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda sound: manager.predict("t", sound, timeout=60), sounds))
    failed = {index: answer.get("code") for index, answer in enumerate(answers) if "error" in answer}
    assert failed == {INNOCENT // 2: "MODEL_CRASHED"}
    wait_until(lambda: version(manager)["ready"] == version(manager)["pool_size"], "others work in their place")
    status = version(manager)
    assert "items failed (ValueError: nothing works any more), then the warm-up item:" in status["last_death"]
    assert status["restarts"] == 2 == restarts_counted(engine_dir)
    assert not before & {each["pid"] for each in status["instances"]}
