"""How the engine is, as one word with reasons, each with what to do about it. From its status document alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from frontend.attach_wait import lacking_lanes
from frontend.cli.command_end import CommandEnd


class EngineState(str, Enum):
    """What operators are told; the worst that holds."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"  # it serves, and something of it is not as it should be
    STARTING = "starting"  # nothing serves yet, and something is about to
    FAILED = "failed"  # nothing serves, nor will it by itself
    EMPTY = "empty"  # nothing is deployed
    STALLED = "stalled"  # its supervisor lives and does not answer
    STOPPED = "stopped"
    FOREIGN = "foreign"  # it is not ours to look at

    @property
    def end(self) -> CommandEnd:
        """How `status` and `doctor` end."""
        return _ENDS.get(self, CommandEnd.PARTLY)


BOOTED_WITHIN_S = 60.0  # until then an instance that is not ready yet is no trouble; as the page has it
_ENDS = {
    EngineState.HEALTHY: CommandEnd.DONE,
    EngineState.STOPPED: CommandEnd.NOTHING_RUNS,
    EngineState.FOREIGN: CommandEnd.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that is not as it should be."""

    why: str
    do: str

    def to_json(self) -> dict[str, str]:
        return {"why": self.why, "do": self.do}


@dataclass(frozen=True, slots=True)
class EngineVerdict:
    """How the engine is."""

    state: EngineState
    text: str  # one line, without a full stop
    advice: tuple[Advice, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `status --json` has it."""
        advice = [each.to_json() for each in self.advice]
        return {"state": self.state.value, "exit_code": int(self.state.end), "text": self.text, "advice": advice}


def verdict_of(status: Mapping[str, Any]) -> EngineVerdict:
    """Of an engine that has answered."""
    deployments = status.get("deployments", [])
    serving = sum(each["state"] == "ready" for each in deployments)
    advice = tuple(_advice(status))
    state = _state(deployments, serving, troubled=bool(advice))
    return EngineVerdict(state, _text(state, len(deployments), serving), advice or _usual_advice(state))


def _state(deployments: list[dict[str, Any]], serving: int, *, troubled: bool) -> EngineState:
    states = {str(each["state"]) for each in deployments}
    if not states - {"gone", "closing"}:
        return EngineState.EMPTY
    if not serving and "drained" not in states:
        return EngineState.FAILED if "failed" in states else EngineState.STARTING
    return EngineState.DEGRADED if troubled else EngineState.HEALTHY


def _text(state: EngineState, deployments: int, serving: int) -> str:
    if state is EngineState.EMPTY:
        return "the engine runs, and nothing is deployed"
    if deployments == 1:
        return f"its deployment {'serves' if serving else 'does not serve'}"
    return f"{serving} of {deployments} deployments serve"


def _usual_advice(state: EngineState) -> tuple[Advice, ...]:
    if state is EngineState.EMPTY:
        return (Advice("no deployment is configured, or all were ended", "nightscan deploy NAME --model-path FILE"),)
    if state is EngineState.STARTING:
        return (Advice("its model is being loaded", "nightscan status --watch"),)
    return ()


def _advice(status: Mapping[str, Any]) -> Iterator[Advice]:
    for deployment in status.get("deployments", []):
        yield from _of_deployment(deployment)
    for trouble in status.get("health", {}).get("troubles", []):
        yield Advice(
            f"{trouble['step']}: {trouble['error']} ({trouble['count']} times in {trouble['since_s']:.0f} s)",
            "it is tried again by itself; memory, descriptors, disk: nightscan doctor",
        )
    for reason in status.get("stores", {}).get("reasons", []):
        yield Advice(reason, _store_advice(reason))


def _of_deployment(deployment: dict[str, Any]) -> Iterator[Advice]:
    name, reason = str(deployment["deployment"]), last_line(deployment["reason"])
    if deployment["state"] == "drained":
        yield Advice(f"{name} is drained: it takes nothing new", f"nightscan drain {name} --resume")
    of_instances = [
        advice
        for version in deployment["versions"]
        if version["state"] == "serving"
        for advice in _of_version(name, version, reason)
    ]
    yield from of_instances
    if reason and not of_instances:
        again = f"nightscan deploy {name} --model-path FILE"
        yield Advice(f"{name}: {reason}", f"correct that, then: {again}; try a model: nightscan doctor")
    for text in lacking_lanes(deployment):
        why, _, do = text.partition(": ")
        yield Advice(why, do)


def _of_version(name: str, version: dict[str, Any], reason: str) -> Iterator[Advice]:
    """Of the one that serves, where not all of its instances do."""
    ready, size = version["ready"], version["pool_size"]
    if ready < size and reason:
        yield Advice(f"{name}: {ready} of {size} instances work: {reason}", "they are started again; nightscan doctor")
        return
    late = [each for each in version["instances"] if each["state"] != "ready" and each["uptime_s"] > BOOTED_WITHIN_S]
    if ready < size and late:
        states = ", ".join(sorted({each["state"] for each in late}))
        yield Advice(f"{name}: {ready} of {size} instances work ({states})", "nightscan status --watch")


def _store_advice(reason: str) -> str:
    if "migrate" in reason:
        return "nightscan journal migrate --print"
    if "disk" in reason or "journal.db" in reason or "written" in reason:
        return "nightscan doctor"
    return "nothing waits for it; whether it can be reached: nightscan doctor"


def last_line(text: object) -> str:
    """Of a traceback the line that says what went wrong."""
    lines = str(text or "").strip().splitlines()
    return lines[-1].strip() if lines else ""
