"""`/status` as JSON: what the supervisor knows, how old that is, and what was counted until now.

Whoever has not the token sees no name of a file, no tracebacks and nothing that came with a deploy.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Hashable, Mapping
from typing import Any

from engine.observe.figures import deployment_figures, http_figures
from engine.supervisor.web.answer import last_line
from engine.supervisor.web.snapshot import Snapshot

# In a text. It may have spaces, so that only what ends a clause, or a quote, ends it.
_PATH = re.compile(r"""(?<![\w:/.\-])~?/[^\s/'"][^'"]*?(?=[:;,)]\s|[.:;,)]?$|['"]|\s\()""")
_HIDDEN = "[a path]"


def document_of(snapshot: Snapshot, *, whole: bool) -> dict[str, Any]:
    """`whole`: for whoever has the token."""
    return {**state_of(snapshot, whole=whole), **figures_of(snapshot)}


def state_of(snapshot: Snapshot, *, whole: bool) -> dict[str, Any]:
    """All of it but the figures."""
    return {**moment_of(snapshot), **(snapshot.state if whole else _public(snapshot.state))}


def moment_of(snapshot: Snapshot) -> dict[str, Any]:
    """When the supervisor said so, and how long ago that is."""
    return {"at": _iso(snapshot.at_s), "age_s": round(snapshot.age_s, 3)}


def essence(state: Mapping[str, Any]) -> Hashable:
    """What of a state is news when it is another: not what moves all the time."""
    return (
        state["supervisor"]["pid"],
        state["health"]["state"],
        tuple(each["step"] for each in state["health"]["troubles"]),
        tuple(state["stores"]["reasons"]),
        tuple((each["pid"], each["connected"], each["welcomed"]) for each in state["frontends"]),
        tuple(_essence_of(each) for each in state["deployments"]),
    )


def _essence_of(deployment: Mapping[str, Any]) -> Hashable:
    tuning = deployment["tuning"]
    return (
        *(deployment[name] for name in ("deployment", "state", "version", "reason")),
        *(tuning[name] for name in ("state", "stage", "form", "winner", "reason")),
        tuple(
            (
                *(version[name] for name in ("version", "state", "reason", "pool_size", "ready", "restarts")),
                tuple((each["pid"], each["name"], each["state"], each["error"]) for each in version["instances"]),
            )
            for version in deployment["versions"]
        ),
    )


def figures_of(snapshot: Snapshot) -> dict[str, Any]:
    """`figures` by deployment, and `http`: counters that never fall while the machine goes on, as they are now.

    Both are empty while not all is known that was counted.
    """
    counted, seats = snapshot.counted, snapshot.seats()
    if counted is None:
        return {"figures": {}, "http": {}}
    return {
        "figures": {
            name: deployment_figures(counted.counters(name), [seat for seat in seats if seat.deployment == name])
            for name in counted.known_deployments()
        },
        "http": http_figures(snapshot.totals()),
    }


def _public(state: Mapping[str, Any]) -> dict[str, Any]:
    deployments = [
        {
            **each,
            "reason": last_line(each["reason"]),
            "versions": [_public_version(version) for version in each["versions"]],
        }
        for each in state["deployments"]
    ]
    public: dict[str, Any] = _without_paths({**state, "deployments": deployments})
    return public


def _without_paths(value: Any) -> Any:
    """What stands in errors and reasons names files: of models, of recordings, of this machine."""
    if isinstance(value, str):
        return _PATH.sub(_HIDDEN, value) if "/" in value else value
    if isinstance(value, dict):
        return {name: _without_paths(each) for name, each in value.items()}
    return [_without_paths(each) for each in value] if isinstance(value, list | tuple) else value


def _public_version(version: Mapping[str, Any]) -> dict[str, Any]:
    instances = [{**each, "error": last_line(each["error"])} for each in version["instances"]]
    return {
        **version,
        "spec": {"source": version["spec"].get("source")},
        "reason": last_line(version["reason"]),
        "last_death": last_line(version["last_death"]),
        "instances": instances,
    }


def _iso(at_s: float) -> str:
    moment = datetime.datetime.fromtimestamp(at_s, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
