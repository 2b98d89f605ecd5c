"""The units that we ship, run as systemd runs them as far as that can be had without it: command, environment, held
socket, READY, and what a stop and a death leave.

`/run/nightscan` and `/opt/nightscan/bin/nightscan` are replaced; everything else is what the file says.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.notify import NotifySocket
from tests.support.server import ROOT, TOKEN, processes_with
from tests.support.wait import wait_for

DEPLOY = ROOT / "frontend" / "deploy"
SETTING = "NIGHTSCAN_OPTIMIZED_SERVING__"
OWN_COMMAND = (sys.executable, "-m", "frontend.cli.main")
_START_S = 60.0
_STOP_S = 30.0


class ServiceProcess:
    """One unit. Its main process is ended, its children are left alone, as `KillMode` of our units has it."""

    def __init__(
        self,
        unit: str,
        folder: Path,
        settings: Mapping[str, object],
        *,
        held: socket.socket | None = None,
        command: Sequence[str] = OWN_COMMAND,
        tree: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        watched: bool = True,
    ) -> None:
        """`folder`: for everything that it writes, shared by units that belong together. `held`: the socket of its
        socket unit. `tree`: where the release lies that runs. `settings` and `environment` as in
        /etc/nightscan/environment.
        """
        section = _section(unit)
        self.unit = unit
        self.runtime_dir = folder / "run"
        self.token = uuid.uuid4().hex
        self.manager = NotifySocket(f"{folder}/{uuid.uuid4().hex[:8]}.notify")
        self._held = held
        self._folder = folder
        self._tree = tree
        self._log_path = folder / f"{unit}.{self.token[:8]}.log"
        self._command = [*command, *shlex.split(section["execstart"])[1:]]
        self.environment = self._environment(section, folder, settings, watched=watched) | dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None

    def _environment(
        self, section: Mapping[str, str], folder: Path, settings: Mapping[str, object], *, watched: bool
    ) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCAN")}
        given = section["environment"].replace("/run/nightscan", str(self.runtime_dir)).split()
        own |= dict(each.split("=", 1) for each in given)
        own |= {
            TOKEN: self.token,
            f"{SETTING}STATE_DIR": str(folder / "state"),
            f"{SETTING}TUNING": "off",
            "PYTHONPATH": f"{self._tree}:{ROOT}",
            "NOTIFY_SOCKET": self.manager.name,
        }
        if watched and "watchdogsec" in section:
            own["WATCHDOG_USEC"] = str(int(section["watchdogsec"]) * 1_000_000)
        return own | {f"{SETTING}{name.upper()}": str(value) for name, value in settings.items()}

    # --- as systemctl does ------------------------------------------------------------------------------------------

    def start(self, *, ready: bool = True) -> None:
        """Returns once READY was said, unless it is not `ready` that is waited for."""
        holder = [sys.executable, "-m", "tests.support.held_socket"]
        fds = [] if self._held is None else [self._held.fileno()]
        prefix = [] if self._held is None else [*holder, str(self._held.fileno())]
        self.manager.forget()
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self._folder,
                pass_fds=fds,
                start_new_session=True,
            )
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None and self.process.poll() is None, f"{self.unit} ended:\n{self.log}"
            return "READY=1" in self.manager.listen()

        wait_for(ready, f"{self.unit} ready", timeout_s=_START_S)

    def stop(self) -> None:
        """SIGTERM to the main process, and waits for its end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_STOP_S)

    def kill(self) -> None:
        """SIGKILL to the main process alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    # --- looking ----------------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def processes(self) -> dict[int, str]:
        """What lives of it and of its earlier runs: pid -> command line."""
        if self.process is not None:
            self.process.poll()
        return processes_with(self.token)

    def end(self) -> dict[int, str]:
        """Stops it and waits for all it started; what had to be killed."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        try:
            wait_for(lambda: not self.processes(), f"{self.unit} gone", timeout_s=_STOP_S)
        except AssertionError:
            pass
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.manager.close()
        return left


@contextmanager
def services(*units: ServiceProcess) -> Iterator[None]:
    """Ends the units after the block, the last one first; nothing may be left of them."""
    try:
        yield
    except BaseException:
        for unit in units:
            print(f"--- {unit.unit}\n{unit.log}")
        raise
    finally:
        left = [unit.end() for unit in reversed(units)]
    assert not any(left), f"had to be killed: {left}"


@contextmanager
def held_socket() -> Iterator[socket.socket]:
    """What the socket unit holds: it listens for as long as the block runs."""
    unit = (DEPLOY / "nightscan-frontend.socket").read_text()
    backlog = re.search(r"^Backlog=(\d+)$", unit, re.MULTILINE)
    assert backlog is not None
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        held.listen(int(backlog[1]))
        yield held


def port_of(held: socket.socket) -> int:
    port = held.getsockname()[1]
    assert isinstance(port, int)
    return port


def _section(unit: str) -> dict[str, str]:
    """What is said of the service; of a name that stands more than once the values, separated by blanks."""
    lines = (DEPLOY / unit).read_text().splitlines()
    section: dict[str, str] = {}
    for line in lines[lines.index("[Service]") + 1 :]:
        name, equals, value = line.partition("=")
        if line.startswith("["):
            break
        if equals and not line.startswith("#"):
            key = name.strip().lower()
            section[key] = f"{section[key]} {value}" if key in section else value
    return section
