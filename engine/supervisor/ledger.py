"""What a successor must know, on disk before it is acted on: `state.json` and the pickled factories, all 0600.

Written whole to a new file and renamed, so that a reader finds the old state or the new one. Not synced to the disk:
it outlives processes, and after a loss of power there is nobody left to adopt.

Factories are kept open: a file that a cleaner has removed can still be handed to instances, and put back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import ProtocolError
from engine.launch.identity import Identity
from engine.messages import sealed_size
from engine.spec import ModelDescription
from engine.supervisor.mixed_layouts import LAYOUT
from engine.supervisor.options import PoolOptions
from engine.supervisor.plan import Plan

STATE_FILE = "state.json"
_FACTORIES = "factories"


@dataclass(frozen=True)
class DeploymentRecord:
    """One deployment as it shall be. `description` goes with `serving`."""

    deployment: str
    newest: int  # number of the newest version ever begun
    serving: Plan | None
    starting: Plan | None
    description: ModelDescription | None
    drained: bool = False  # takes nothing new


@dataclass(frozen=True)
class State:
    """Everything desired, and who was there: processes that a successor waits for before it begins anew."""

    deployments: tuple[DeploymentRecord, ...] = ()
    instances: tuple[Identity, ...] = ()
    frontends: tuple[Identity, ...] = ()


class Ledger:
    """Reads and writes the state of one runtime directory."""

    def __init__(self, runtime_dir: Path) -> None:
        self._path = runtime_dir / STATE_FILE
        self._factories = runtime_dir / _FACTORIES
        self._open: dict[Path, int] = {}  # factories that are in use
        self._written: tuple[int, int] | None = None  # device and inode of the state file as we wrote it last
        self.lost = False  # whether `read` found nothing that could be read
        self.unreadable = ""  # why `read` could make nothing of a file that was there

    def content(self, state: State) -> bytes:
        """What is to be written of it."""
        return json.dumps({
            "layout": LAYOUT,
            "deployments": [_record_json(record) for record in state.deployments],
            "instances": [asdict(peer) for peer in state.instances],
            "frontends": [asdict(peer) for peer in state.frontends],
        }).encode()

    def write(self, content: bytes) -> None:
        """Replaces what was written before. Raises OSError, and then that is still there if it was."""
        fresh = self._path.with_suffix(".new")
        with _new_file(fresh) as fd:
            _write_all(fd, content)
            os.replace(fresh, self._path)
            self._written = _file_id(os.fstat(fd))

    def read(self) -> State:
        """What a predecessor has left; nothing if there is no file. One that is nonsense is kept as `state.bad`.

        Raises OSError for a file that is there and cannot be read just now: it may say what serves.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            self.lost = True
            return State()
        except IsADirectoryError as error:
            self.lost, self.unreadable = True, str(error)
            return State()
        try:
            return _state(json.loads(content))
        # Of another version of ours, half written, somebody else's: whatever it is, it must not stop a start.
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ProtocolError) as error:
            self.lost = True
            self.unreadable = f"{self._path} cannot be understood ({type(error).__name__}: {error})"
            with contextlib.suppress(OSError):
                os.replace(self._path, self._path.with_suffix(".bad"))
            return State()

    @property
    def is_in_place(self) -> bool:
        """Whether the file is there that was written last."""
        try:
            return _file_id(self._path.lstat()) == self._written
        except OSError:
            return False

    def store_factory(self, deployment: str, number: int, memfd: int) -> Path:
        """Keeps a pickled factory; nobody here ever unpickles it, or has it in memory.

        Raises ProtocolError for what is no sealed memory file, OSError when there is no room for it.
        """
        size = sealed_size(memfd)
        digest = hashlib.sha256(deployment.encode()).hexdigest()[:16]  # an id may hold what no file name may
        path = self._factories / f"{digest}-{number}.pickle"
        self._copy(path, memfd, size)
        self.keep_factory(path)
        return path

    def keep_factory(self, path: Path) -> None:
        """From here on it can be opened and put back, whatever becomes of the file. Raises OSError."""
        if path not in self._open:
            self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def open_factory(self, path: Path) -> int:
        """A descriptor of a stored factory that the caller owns, at its beginning. Raises OSError."""
        self.keep_factory(path)
        return os.open(f"/proc/self/fd/{self._open[path]}", os.O_RDONLY | os.O_CLOEXEC)

    def put_back_factories(self) -> None:
        """Those that were removed while they are in use. Raises OSError."""
        for path, fd in list(self._open.items()):  # the loop may ask for one meanwhile
            if not path.exists():
                self._copy(path, fd, os.fstat(fd).st_size)

    def forget_factory(self, path: Path) -> None:
        """No version is made of it any more."""
        fd = self._open.pop(path, None)
        if fd is not None:
            os.close(fd)
        path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Nothing is desired any more. Raises OSError."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        shutil.rmtree(self._factories, ignore_errors=True)

    def close(self) -> None:
        """Lets go of the files; they stay. Idempotent."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def _copy(self, path: Path, source: int, size: int) -> None:
        self._factories.mkdir(mode=0o700, exist_ok=True)
        with _new_file(path) as fd:
            offset = 0
            while offset < size:
                offset += os.sendfile(fd, source, offset, size - offset)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """A new file that nobody else can read, in place of any that has the name; none is left if it cannot be filled."""
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.ExitStack() as undo:
            undo.callback(_remove, path)
            yield fd
            undo.pop_all()
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _file_id(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _write_all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while len(rest):
        rest = rest[os.write(fd, rest) :]


def _state(content: Any) -> State:
    return State(
        tuple(_record(value) for value in content["deployments"]),
        tuple(_identity(peer) for peer in content["instances"]),
        tuple(_identity(peer) for peer in content["frontends"]),
    )


def record_json(plan: Plan, description: ModelDescription) -> dict[str, Any]:
    """A version that serves, for instances to keep: should the file be lost, they still have it."""
    return _record_json(DeploymentRecord(plan.deployment, plan.number, plan, None, description))


def record_from(value: dict[str, Any]) -> DeploymentRecord:
    """What `record_json` made. Raises ProtocolError for anything else."""
    try:
        return _record(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"not a deployment's record: {error!r:.200}") from error


def _identity(value: Any) -> Identity:
    found = Identity(**value)
    if not isinstance(found.pid, int) or not isinstance(found.start_ticks, int):
        raise ProtocolError(f"not a process: {value!r:.80}")
    return found


def _record_json(record: DeploymentRecord) -> dict[str, Any]:
    return {
        "deployment": record.deployment,
        "newest": record.newest,
        "serving": _plan_json(record.serving) if record.serving else None,
        "starting": _plan_json(record.starting) if record.starting else None,
        "description": record.description.to_bytes().decode() if record.description else None,
        "drained": record.drained,
    }


def _record(value: dict[str, Any]) -> DeploymentRecord:
    name, description = value["deployment"], value["description"]
    if not isinstance(name, str) or not isinstance(value["newest"], int):
        raise ProtocolError(f"not a deployment: {name!r:.80}")
    return DeploymentRecord(
        deployment=name,
        newest=value["newest"],
        serving=_plan(name, value["serving"]) if value["serving"] else None,
        starting=_plan(name, value["starting"]) if value["starting"] else None,
        description=ModelDescription.from_bytes(description.encode()) if description else None,
        drained=value.get("drained") is True,
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
    counts = (value["number"], options.pool_size, options.max_batch_size, options.warmup_requests + 1)
    if not all(isinstance(each, int) and each > 0 for each in counts) or not isinstance(value["spec"], dict):
        raise ProtocolError(f"not a plan of {deployment}")
    if not options.devices or not all(isinstance(each, str) for each in options.devices):
        raise ProtocolError(f"a plan of {deployment} names no device")
    if not isinstance(options.tuning, str) or not isinstance(options.precision, str):
        raise ProtocolError(f"a plan of {deployment} does not say how it is tuned")
    path = Path(value["pickle_path"]) if value["pickle_path"] else None
    changed = {"options": options, "pickle_path": path, "deployment": deployment}
    return Plan(**{**value, **changed})
