"""What a successor must know, on disk before it is acted on: `state.json` and the pickled factories, all 0600.

Written whole to a new file and renamed, so that a reader finds the old state or the new one. Not synced to the disk:
it outlives processes, and after a loss of power there is nobody left to adopt.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import ProtocolError
from engine.messages import sealed_size
from engine.spec import ModelDescription
from engine.supervisor.identity import Identity
from engine.supervisor.options import PoolOptions
from engine.supervisor.version import Plan

_STATE = "state.json"
_FACTORIES = "factories"


@dataclass(frozen=True)
class DeploymentRecord:
    """One deployment as it shall be. `description` goes with `serving`."""

    deployment: str
    newest: int  # number of the newest version ever begun
    serving: Plan | None
    starting: Plan | None
    description: ModelDescription | None


@dataclass(frozen=True)
class State:
    """Everything desired, and who was there: processes that a successor waits for before it begins anew."""

    deployments: tuple[DeploymentRecord, ...] = ()
    instances: tuple[Identity, ...] = ()
    frontends: tuple[Identity, ...] = ()


class Ledger:
    """Reads and writes the state of one runtime directory."""

    def __init__(self, runtime_dir: Path) -> None:
        self._path = runtime_dir / _STATE
        self._factories = runtime_dir / _FACTORIES

    def write(self, state: State) -> None:
        """Replaces what was written before."""
        fresh = self._path.with_suffix(".new")
        content = json.dumps({
            "deployments": [_record_json(record) for record in state.deployments],
            "instances": [asdict(peer) for peer in state.instances],
            "frontends": [asdict(peer) for peer in state.frontends],
        })
        with _private(fresh) as file:
            file.write(content.encode())
        os.replace(fresh, self._path)

    def read(self) -> State:
        """What a predecessor has left; nothing if there is no file, or one of another version of ours."""
        try:
            content = json.loads(self._path.read_bytes())
            return State(
                tuple(_record(value) for value in content["deployments"]),
                tuple(Identity(**peer) for peer in content["instances"]),
                tuple(Identity(**peer) for peer in content["frontends"]),
            )
        except (OSError, ValueError, KeyError, TypeError, ProtocolError):
            return State()

    def store_factory(self, deployment: str, number: int, memfd: int) -> Path:
        """Keeps a pickled factory; nobody here ever unpickles it, or has it in memory. Raises ProtocolError."""
        size = sealed_size(memfd)
        self._factories.mkdir(mode=0o700, exist_ok=True)
        digest = hashlib.sha256(deployment.encode()).hexdigest()[:16]  # an id may hold what no file name may
        path = self._factories / f"{digest}-{number}.pickle"
        with _private(path) as file:
            offset = 0
            while offset < size:
                offset += os.sendfile(file.fileno(), memfd, offset, size - offset)
        return path

    def clear(self) -> None:
        """Nothing is desired any more."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        shutil.rmtree(self._factories, ignore_errors=True)


def _private(path: Path) -> BinaryIO:
    """A new file that nobody else can read, in place of any that has the name."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _record_json(record: DeploymentRecord) -> dict[str, Any]:
    return {
        "deployment": record.deployment,
        "newest": record.newest,
        "serving": _plan_json(record.serving) if record.serving else None,
        "starting": _plan_json(record.starting) if record.starting else None,
        "description": record.description.to_bytes().decode() if record.description else None,
    }


def _record(value: dict[str, Any]) -> DeploymentRecord:
    name, description = value["deployment"], value["description"]
    return DeploymentRecord(
        deployment=name,
        newest=value["newest"],
        serving=_plan(name, value["serving"]) if value["serving"] else None,
        starting=_plan(name, value["starting"]) if value["starting"] else None,
        description=ModelDescription.from_bytes(description.encode()) if description else None,
    )


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "number": plan.number,
        "spec": plan.spec,
        "options": plan.options.to_json(),
        "pickle_path": str(plan.pickle_path) if plan.pickle_path else None,
        "configured": plan.configured,
    }


def _plan(deployment: str, value: dict[str, Any]) -> Plan:
    options = PoolOptions(**{**value["options"], "devices": tuple(value["options"]["devices"])})
    path = Path(value["pickle_path"]) if value["pickle_path"] else None
    changed = {"options": options, "pickle_path": path, "deployment": deployment}
    return Plan(**{**value, **changed})
