"""What stands in the state for whoever has not the token: why, but of no file."""

from __future__ import annotations

from typing import Any

import pytest

from engine.supervisor.web.counted import CountedMachine
from engine.supervisor.web.document import state_of
from engine.supervisor.web.snapshot import Snapshot

ALIKE = ["12 requests/s and/or 3 a/b", "http://127.0.0.1:8002/x is away", "wildlife/frogs", "1 / 2", "N/A"]


def state(text: str) -> dict[str, Any]:
    """With the text wherever somebody else's words are told."""
    version = {"version": 1, "spec": {"source": "checkpoint", "location": text}, "reason": text, "last_death": text}
    instance = {"name": 1, "error": f"Traceback\n{text}", "warnings": [text]}
    deployment = {"deployment": "d", "reason": text, "versions": [{**version, "instances": [instance]}]}
    trouble = {"step": "journal.move", "error": text, "count": 1}
    return {
        "health": {"state": "degraded", "troubles": [trouble], "recent": [trouble]},
        "deployments": [{**deployment, "tuning": {"reason": text, "candidates": [{"refused": text}]}}],
        "stores": {"reasons": [text]},
        "status_server": {"address": None, "trouble": text},
    }


def told(text: str, *, whole: bool) -> dict[str, Any]:
    return state_of(Snapshot.now(state(text), CountedMachine({}), None), whole=whole)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot read /home/ann/my models/frogs.pth: no luck; save it", "cannot read [a path]: no luck; save it"),
        ("Too many open files: '/var/lib/frogs/spool'", "Too many open files: '[a path]'"),
        ("state_dir=/home/frogs: cannot be written", "state_dir=[a path]: cannot be written"),
        ("there is nothing at ~/frogs.pth", "there is nothing at [a path]"),
        ("nothing is in (/frogs/a b.pth) or in /frogs", "nothing is in ([a path]) or in [a path]"),
    ],
)
def test_a_path_is_told_to_whoever_has_the_token_alone(text: str, shown: str) -> None:
    public = told(text, whole=False)
    assert "frogs" not in str(public) and "Traceback" not in str(public)
    assert public["deployments"][0]["reason"] == shown == public["health"]["troubles"][0]["error"]
    assert told(text, whole=True).items() >= state(text).items()


@pytest.mark.parametrize("text", ALIKE)
def test_what_is_no_path_is_told_to_everybody(text: str) -> None:
    assert told(text, whole=False)["health"] == state(text)["health"]
