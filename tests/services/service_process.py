"""One server process of a test: started in a session of its own, frozen, killed, ended, and its log shown."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import leaks

END_S = 10.0
# The kernel ends it with the test run, however that dies.
WITH_US = ("setpriv", "--pdeathsig", "KILL")


class ServiceProcess:
    """`command`, started with `start()`; again after it ended. `log` is a file that all of its lives write to.

    `kept`: it lives longer than one test (a fixture of a module or of the session ends it), so the leak guard of a
    test in which it is restarted overlooks it.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, *, kept: bool = False) -> None:
        self._command = [*WITH_US, *map(str, command)]
        self._log = log
        self._kept = kept
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the living process. AssertionError when there is none."""
        assert self._process is not None and self._process.poll() is None, f"{self._command} does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended; a frozen one runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What all of its lives have written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Starts it; does not wait until it can be used."""
        assert not self.running
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._log.parent,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        if self._kept:
            leaks.kept_children.add(self._process.pid)

    def freeze(self) -> None:
        """Stops it in its tracks (SIGSTOP): its sockets stay open, and the kernel goes on taking connections."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and reaped."""
        self._end(signal.SIGKILL)

    def end(self, asking: signal.Signals = signal.SIGTERM) -> None:
        """Asks it to end, waits, kills what does not; nothing if it does not run."""
        if self.running:
            self._end(asking)

    def _end(self, asking: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)  # or it would take the request only when thawed
        self._process.send_signal(asking)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self._command} had to be killed\n{self.log}") from None
        finally:
            leaks.kept_children.discard(self._process.pid)
