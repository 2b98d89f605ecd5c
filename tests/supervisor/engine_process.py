"""A supervisor in a process of its own, what it started, and clients of it, all found again and ended by id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from engine import crash_points
from engine.client import EngineClient, Item, Ticket
from engine.clock import Deadline
from engine.config import Settings, load_settings
from engine.errors import EngineError, NotReady, PeerGone
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.support.wait import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN_VARIABLE = "NS_TEST_TOKEN"
CORES_VARIABLE = "NS_TEST_CORES"
PREFIX = "NIGHTSCAN_OPTIMIZED_SERVING__"
ANSWER_S = 30.0


class EngineProcess:
    """A context manager: a supervisor runs inside, and nothing that it started is left afterwards."""

    def __init__(
        self,
        runtime_dir: Path,
        *,
        program: str = "supervisor",
        behaviour: str = "echo",
        master: int = 0,
        tracebacks: bool = False,
        variables: dict[str, str] | None = None,
        cores: int = 16,
        **settings: object,
    ) -> None:
        """`program`: supervisor, or keeper for `master` (this process).

        `settings` over: one worker, two instances, no trials. `tracebacks`: whether the log may hold some.
        `variables`: more of the environment. `behaviour` counts where no `model_factory` is named.
        `cores`: that the supervisor believes it has; test instances use next to nothing of them.
        """
        self.runtime_dir = runtime_dir
        self.token = uuid.uuid4().hex
        self._program = program
        self._master = master or os.getpid()
        self._tracebacks = tracebacks
        self._log = runtime_dir.with_suffix(".log")
        usual = {"workers": 1, "model_pool_size": 2, "instance_threads": 1, "tuning": "off", "status_port": 0}
        values: dict[str, object] = {**usual, **settings}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            **{f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()},
            TOKEN_VARIABLE: self.token,
            **(variables or {}),
            CORES_VARIABLE: str(cores),
        }
        if "model_factory" not in settings:
            self.behave(behaviour)
        self.process: subprocess.Popen[bytes] | None = None

    def behave(self, behaviour: str) -> None:
        """How instances of the configured deployment behave, from the next start on."""
        self._environment[f"{PREFIX}MODEL_FACTORY"] = f"behaviour:{behaviour}"

    def __enter__(self) -> EngineProcess:
        if self.process is None:
            self.start()
        return self

    def start(self, *, crash_point: str = "") -> None:
        """Starts a supervisor (again), which may find what an earlier one left, and may be made to die on the way."""
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"tests.supervisor.programs.{self._program}", *self._arguments()],
                env={**self._environment, crash_points.VARIABLE: crash_point},
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _arguments(self) -> list[str]:
        master = ["--master", str(self._master)] if self._program == "keeper" else []
        return ["--runtime-dir", str(self.runtime_dir), *master]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            log = self._log.read_text() if self._log.exists() else ""
            self._log.unlink(missing_ok=True)
            left = self.end_all()
            sys.stderr.write(log)  # shown by pytest for a test that failed
        assert error is not None or not left, f"left behind: {left}\n{log}"
        assert error is not None or self._tracebacks or "Traceback (most recent" not in log, log

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(15)

    def lose(self, path: Path) -> None:
        """The supervisor is killed before it can put back what somebody removes, and another one started."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        self.kill_supervisor()
        self.start()

    def kill_supervisor(self) -> None:
        """SIGKILL, without a word to anybody."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    # --- what it started --------------------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """Every living process with our token."""
        wanted = f"{TOKEN_VARIABLE}={self.token}".encode()
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if wanted in _environment_of(pid)]

    def end_all(self) -> list[str]:
        """Ends whatever is left; what that was."""
        left = []
        for pid in self.pids():
            left.append(f"{pid} {_command_of(pid)}")
            os.kill(pid, signal.SIGKILL)
        return left

    # --- clients ----------------------------------------------------------------------------------------------------

    @contextmanager
    def client(self, wait_s: float = ANSWER_S) -> Iterator[EngineClient]:
        """A frontend in this process."""
        client = EngineClient.attach(runtime_dir=str(self.runtime_dir), wait_s=wait_s, settings=self.settings)
        try:
            yield client
        finally:
            client.close()

    @property
    def settings(self) -> Settings:
        """As the supervisor reads them."""
        return load_settings(self._environment)

    @contextmanager
    def frontend(self, program: str = "frontend") -> Iterator[subprocess.Popen[str]]:
        """A frontend in a process of its own, attached; killed at the end if it lives."""
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.supervisor.programs.{program}", str(self.runtime_dir)],
            env=self._environment,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert told(process) == "attached"
            yield process
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def told(process: subprocess.Popen[str]) -> str:
    """The next line that a frontend prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str) -> None:
    """An order for a frontend."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def submit(client: EngineClient, value: float = 0.0, deployment: str = DEFAULT_DEPLOYMENT_ID) -> Ticket:
    """One item whose first number is `value`."""
    payload = np.zeros(8, np.float32)
    payload[0] = value
    return client.submit(deployment, [Item(payload)], request_id="r", deadline=Deadline.after_s(ANSWER_S))


def ask(client: EngineClient, value: float = 0.0, deployment: str = DEFAULT_DEPLOYMENT_ID) -> list[float]:
    """What one item is answered with: [version, pid, value, batch size]."""
    answer: list[float] = submit(client, value, deployment).wait()[0].probabilities.tolist()
    return answer


def status(client: EngineClient, deployment: str = DEFAULT_DEPLOYMENT_ID) -> dict[str, Any]:
    """What `status` says of one deployment; empty if there is none of that name, or nobody to ask just now."""
    try:
        found = client.request("status", timeout_s=ANSWER_S)["deployments"]
    except (NotReady, PeerGone):
        return {}
    return next((each for each in found if each["deployment"] == deployment), {})


def serving(client: EngineClient, deployment: str = DEFAULT_DEPLOYMENT_ID) -> dict[str, Any]:
    """What `status` says of the version that serves; empty if none does."""
    versions = status(client, deployment).get("versions", [])
    return next((each for each in versions if each["state"] == "serving"), {})


def ready_pids(client: EngineClient, count: int, deployment: str = DEFAULT_DEPLOYMENT_ID) -> list[int]:
    """Pids of the instances that take work, once there are `count` of them."""

    def found() -> list[int]:
        instances = serving(client, deployment).get("instances", [])
        ready = [each["pid"] for each in instances if each["state"] == "ready"]
        return sorted(ready) if len(ready) == count else []

    return wait_for(found, f"{count} ready instances of {deployment}")


def wait_serving(client: EngineClient, deployment: str = DEFAULT_DEPLOYMENT_ID) -> None:
    """Until requests are taken."""
    wait_for(lambda: client.ready(deployment), f"{deployment} to be ready")


def wait_all_free(client: EngineClient, deployment: str = DEFAULT_DEPLOYMENT_ID) -> None:
    """Until every slot is FREE: nothing was lost on the way."""

    def free() -> bool:
        slots = serving(client, deployment).get("slots")
        return slots is not None and slots["free"] == slots["total"]

    wait_for(free, "all slots to be FREE")


def deploy(client: EngineClient, behaviour: str, deployment: str = DEFAULT_DEPLOYMENT_ID) -> int:
    """Deploys and waits until it serves; the number of the version."""
    done = client.request("deploy", timeout_s=ANSWER_S, deployment=deployment, spec=spec(behaviour), options={})
    return int(done["version"])


def refused(client: EngineClient, op: str, **fields: Any) -> EngineError:
    """The error that an order is answered with."""
    try:
        client.request(op, timeout_s=ANSWER_S, **fields)
    except EngineError as error:
        return error
    raise AssertionError(f"{op} was carried out")


def spec(behaviour: str) -> dict[str, object]:
    """A spec that test instances understand."""
    return {"source": "factory", "location": behaviour}


def _environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "?"
