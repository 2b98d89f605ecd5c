"""A real gunicorn server for a test: its own process group, port and runtime directory, and nothing left at its end.

Every process that the server starts, however detached, inherits an environment variable with a token of its own; by
that they are found again, ended by id, and counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.http import TIMEOUT_S, Connection, ConnectionEnded, Response, fetch
from tests.support.wait import wait_for

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "NIGHTSCAN_TEST_TOKEN"
END_S = 10.0


class ServerProcess:
    """`ServerProcess(["gunicorn arguments", ...])` as a context manager: ready inside, gone after.

    `environment` goes over a clean one: no NIGHTSCAN variable of the caller reaches the server. `ready`: a path that
    answers 200 once the server can be used; "" when accepting connections is enough. `directory`: where it is started;
    by default an empty one of its own.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        ready: str = "/",
        module: str = "gunicorn",
        import_paths: Sequence[Path] = (),
        directory: Path | None = None,
        port: int | None = None,
        start_s: float = 60.0,
    ) -> None:
        self.port = port or free_port()
        self.address = ("127.0.0.1", self.port)
        self.token = uuid.uuid4().hex
        self._ready = ready
        self._start_s = start_s
        self._folder = tempfile.TemporaryDirectory(prefix="ns-", dir="/tmp")
        self.runtime_dir = Path(self._folder.name) / "run"
        self._log_path = Path(self._folder.name) / "log"
        self._directory = directory or Path(self._folder.name)
        self._command = [sys.executable, "-m", module, *arguments]
        self.environment = self._make_environment(environment or {}, import_paths)
        self._process: subprocess.Popen[bytes] | None = None

    def _make_environment(self, given: Mapping[str, str], import_paths: Sequence[Path]) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCAN")}
        own |= {
            TOKEN: self.token,
            "NIGHTSCAN_OPTIMIZED_SERVING__RUNTIME_DIR": str(self.runtime_dir),
            "NIGHTSCAN_OPTIMIZED_SERVING__STATE_DIR": str(Path(self._folder.name) / "state"),
            "NIGHTSCAN_OPTIMIZED_SERVING__PORT": str(self.port),
            "NIGHTSCAN_OPTIMIZED_SERVING__WORKERS": "1",
            "NIGHTSCAN_OPTIMIZED_SERVING__CACHE_L1_MB": "0",  # the same is computed again, unless a test says so
            "NIGHTSCAN_OPTIMIZED_SERVING__STATUS_PORT": "0",  # its socket is enough, unless a test says so
            "NIGHTSCAN_OPTIMIZED_SERVING__TUNING": "off",  # no second process computes, unless a test asks for it
            "PYTHONPATH": os.pathsep.join(map(str, [*import_paths, ROOT])),
        }
        return {**own, **given}

    # --- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> ServerProcess:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self._directory,  # where no gunicorn.conf.py lies that would be read by itself
                start_new_session=True,
            )
        try:
            wait_for(self._is_ready, f"{self._command} ready", timeout_s=self._start_s)
        except BaseException:
            self._end()
            print(self.log)
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._end()
        if kind is not None or left:
            print(self.log)
        self._folder.cleanup()
        assert kind is not None or not left, f"processes had to be killed: {left}"

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
        try:
            if not self._ready:
                socket.create_connection(self.address, timeout=1).close()
                return True
            return fetch(self.address, "GET", self._ready).status == 200
        except (OSError, ConnectionEnded):
            return False

    def _end(self) -> dict[int, str]:
        """Asks to leave, waits, then kills what is left and tells what that was."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        give_up_at = time.monotonic() + END_S
        while self.processes() and time.monotonic() < give_up_at:
            self.process.poll()
            time.sleep(0.02)
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return left

    # --- looking and acting -----------------------------------------------------------------------------------------

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """Of the master."""
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def processes(self) -> dict[int, str]:
        """Every living process of this server, its engine included: pid -> command line."""
        self.process.poll()  # a zombie that nobody has waited for would count
        return processes_with(self.token)

    def workers(self) -> list[int]:
        """Pids of the frontends: the master's children."""
        return sorted(pid for pid in self.processes() if parent_of(pid) == self.pid)

    def signal(self, number: int, *, group: bool = False) -> None:
        """To the master alone, or to its whole process group as a terminal does."""
        if group:
            os.killpg(self.pid, number)
        else:
            self.process.send_signal(number)

    def connect(self, *, timeout_s: float = TIMEOUT_S) -> Connection:
        return Connection(self.address, timeout_s=timeout_s)

    def fetch(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        return fetch(self.address, method, path, body, **headers)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_with(token: str) -> dict[int, str]:
    """Living processes whose environment holds `token`: pid -> command line. Zombies have no environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if token.encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found


def parent_of(pid: int) -> int:
    """0 when `pid` is gone."""
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def has_torch(pid: int) -> bool:
    """Whether torch is loaded there: its library is mapped."""
    return "libtorch" in (Path("/proc") / str(pid) / "maps").read_text()
