"""What the page makes of everything: one word, and a line for each thing that needs attention."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from engine.client.admin import ask
from tests.browser.browser_page import BrowserPage
from tests.browser.watched_engine import WatchedEngine

Status = dict[str, Any]


def nothing(status: Status) -> None: ...


def stalled(status: Status) -> None:
    status["age_s"] = 65.0


def empty(status: Status) -> None:
    status["deployments"] = []


def starting(status: Status) -> None:
    status["deployments"][0]["state"] = "starting"


def drained(status: Status) -> None:
    status["deployments"][0]["state"] = "drained"


def failed(status: Status) -> None:
    status["deployments"][0].update(state="failed", reason="Traceback\n  somewhere\nValueError: no such weights")


def one_of_two_failed(status: Status) -> None:
    other = {**copy.deepcopy(status["deployments"][0]), "deployment": "other", "state": "failed", "reason": "why"}
    status["deployments"].append(other)


def one_of_two_drained(status: Status) -> None:
    other = {**copy.deepcopy(status["deployments"][0]), "deployment": "other", "state": "drained"}
    status["deployments"].append(other)


def in_trouble(status: Status) -> None:
    status["health"]["troubles"] = [{"step": "Ledger.write", "error": "no space left", "count": 3, "since_s": 2.0}]


def without_redis(status: Status) -> None:
    status["stores"]["reasons"] = ["Redis does not answer: answers are cached on this machine alone"]


def booting(status: Status) -> None:
    version = status["deployments"][0]["versions"][0]
    version["ready"] = 1
    version["instances"][-1].update(state="warming", uptime_s=2.0)


def booting_for_long(status: Status) -> None:
    booting(status)
    status["deployments"][0]["versions"][0]["instances"][-1]["uptime_s"] = 61.0


def short(status: Status) -> None:
    status["deployments"][0]["versions"][0].update(ready=1, last_death="instance 7 was killed by SIGKILL")


@pytest.mark.parametrize(
    ("change", "word", "said"),
    [
        (nothing, "Serving", ""),
        (stalled, "Stalled", "stuck for 1 min"),
        (empty, "Nothing deployed", ""),
        (starting, "Starting", ""),
        (drained, "Drained", "wildlife_detector_optimized is drained: it takes nothing new"),
        (one_of_two_drained, "Degraded", "other is drained"),
        (failed, "Failed", "wildlife_detector_optimized failed: ValueError: no such weights"),
        (one_of_two_failed, "Degraded", "other failed: why"),
        (in_trouble, "Degraded", "Ledger.write: no space left (3 times, tried again)"),
        (without_redis, "Degraded", "cached on this machine alone"),
        (booting, "Serving", ""),
        (booting_for_long, "Degraded", "1 of 2 instances ready"),
        (short, "Degraded", "1 of 2 instances ready (instance 7 was killed by SIGKILL)"),
    ],
)
def test_each_state_has_its_word_and_says_why(
    engine: WatchedEngine, plain_page: BrowserPage, change: Callable[[Status], None], word: str, said: str
) -> None:
    status = {"age_s": 0.1, **ask(str(engine.server.runtime_dir), "status", timeout_s=10)}
    change(status)
    found = plain_page.call("verdict.js", "({ verdict }, status) => verdict(status)", status)
    assert found["word"] == word
    assert said in " ".join(found["troubles"]) and bool(said) == bool(found["troubles"])
