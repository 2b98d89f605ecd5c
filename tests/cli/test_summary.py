"""However much there is to say, it fits one screen, the worst first, and what was left out is counted."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import Settings
from engine.observe.store_health import stores_seen
from frontend.cli.check import Check, CheckState
from frontend.cli.check_view import check_view
from frontend.cli.command_end import CommandEnd
from frontend.cli.looking import Sight
from frontend.cli.printing import LINES, WIDTH
from frontend.cli.summary import duration, summary
from frontend.cli.verdict import EngineState, verdict_of

LONG = "the weights of this model lie in a folder whose name never ends, " * 20


def deployment(name: str, state: str = "ready", *, reason: str = "", ready: int = 2) -> dict[str, Any]:
    instance = {"state": "ready", "device": "cpu", "error": "", "name": 1, "pid": 1, "warnings": []}
    version = {
        "version": 1, "state": "serving" if state == "ready" else "starting", "reason": "", "pool_size": 2,
        "pool_size_wanted": 3, "pool_size_reason": "", "ready": ready, "last_death": "", "lanes": None,
        "instances": [instance] * ready, "slots": None, "segment_bytes": 0,
    }  # fmt: skip
    return {
        "deployment": name, "state": state, "version": 1, "reason": reason, "versions": [version],
        "tuning": {"form": "onnxruntime-fp32"},
    }  # fmt: skip


def document(*deployments: dict[str, Any], troubles: int = 0, reasons: int = 0) -> dict[str, Any]:
    trouble = {"step": "Ledger.write", "error": LONG, "count": 12, "since_s": 3.0}
    stores = {**stores_seen(None, Settings()), "reasons": [f"Redis {number}: {LONG}" for number in range(reasons)]}
    return {
        "supervisor": {"pid": 1, "uptime_s": 90_061.0}, "frontends": [], "deployments": list(deployments),
        "health": {"troubles": [trouble] * troubles}, "stores": stores,
    }  # fmt: skip


def shown(found: dict[str, Any]) -> list[str]:
    lines = summary(Sight("/run/" + "x" * 80, verdict_of(found), found)).splitlines()
    assert len(lines) <= LINES and all(len(line) <= WIDTH for line in lines), "\n".join(lines)
    return lines


@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_any_number_of_deployments_and_troubles_fits(count: int) -> None:
    failing = [deployment(f"bats-{number}", "failed", reason=LONG) for number in range(count)]
    lines = shown(document(*failing, deployment("owls"), troubles=count, reasons=count))
    assert lines[0].startswith("degraded: " if count else "healthy: ")
    if count == 100:
        assert any(line.strip().startswith("and ") and "nightscan status --all" in line for line in lines)
        assert "and 95 more deployments" in lines


@pytest.mark.parametrize(("uptime_s", "state"), [(2.0, EngineState.HEALTHY), (61.0, EngineState.DEGRADED)])
def test_an_instance_that_boots_is_no_trouble_unless_it_takes_long(uptime_s: float, state: EngineState) -> None:
    found = deployment("owls")
    (version,) = found["versions"]
    states = {"ready": 99.0, "warming": uptime_s}
    version.update(ready=1, instances=[{"state": each, "uptime_s": age_s} for each, age_s in states.items()])
    assert verdict_of(document(found)).state is state


def test_long_names_are_cut_and_not_the_states() -> None:
    lines = shown(document(deployment("a-name-that-goes-on-and-on-" * 10)))
    assert any("ready" in line and "2 of 2" in line for line in lines)


@pytest.mark.parametrize(
    ("states", "state", "text"),
    [
        ([], EngineState.EMPTY, "nothing is deployed"),
        (["gone", "closing"], EngineState.EMPTY, "nothing is deployed"),
        (["starting"], EngineState.STARTING, "its deployment does not serve"),
        (["failed"], EngineState.FAILED, "its deployment does not serve"),
        (["failed", "starting"], EngineState.FAILED, "0 of 2 deployments serve"),
        (["ready"], EngineState.HEALTHY, "its deployment serves"),
        (["ready", "drained"], EngineState.DEGRADED, "1 of 2 deployments serve"),
    ],
)
def test_the_state_is_the_worst_that_holds(states: list[str], state: EngineState, text: str) -> None:
    verdict = verdict_of(document(*(deployment(f"d{number}", each) for number, each in enumerate(states))))
    assert verdict.state is state and text in verdict.text
    assert verdict.state.end == (CommandEnd.DONE if state is EngineState.HEALTHY else CommandEnd.PARTLY)
    assert verdict.advice or state in (EngineState.HEALTHY, EngineState.FAILED)


def test_the_doctor_fits_with_every_check_out_of_order() -> None:
    checks = [Check(f"check-{number}", CheckState.BROKEN, LONG, LONG) for number in range(14)]
    checks += [Check(f"fine-{number}", CheckState.WELL, LONG) for number in range(14)]
    found = document(deployment("bats", "failed", reason=LONG), troubles=9)
    for some in (checks, checks[12:], checks[:1]):
        lines = check_view(Sight("/run", verdict_of(found), found), some).splitlines()
        assert len(lines) <= LINES and all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith("failed: ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"), (59.2, "59 s"), (61, "1 min 1 s"),
        (3_700, "1 h 1 min"), (90_061, "25 h 1 min"), (200_000, "2 days 7 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
