"""One stage of the trials as its parent sees it: a process that is started, watched, and gone at the end.

Whatever it does (crash, hang, eat memory, leave processes behind) costs this stage and nothing else. Its time is that
in which it could compute: on a machine that serves at its limit a stage of the idle class gets the processor for a few
thousandths of the time, which is not its fault.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from engine.messages import sealed_memfd
from engine.supervisor.children import describe_exit
from engine.trials.priority import end_children
from engine.trials.stage_request import StageReport, StageRequest
from engine.trials.stage_time import StageTime

_LOOK_EVERY_MS = 250
_PIECE_BYTES = 1 << 16
_TOLD_BYTES = 4096  # of what a stage prints, its end is kept
_STACK = "Fatal Python error"  # of faulthandler, at the beginning of what it prints
_LARGEST_REPORT_BYTES = 16 << 20


class StageProcess:
    """A running stage, the one child of this process, which adopts what it leaves behind (`children.adopt_orphans`).

    Use as a context manager: at its end nothing of the stage is left.
    """

    def __init__(self, request: StageRequest, factory_fd: int | None, environment: Mapping[str, str]) -> None:
        """Starts it. `factory_fd`: of the pickled factory, which stays the caller's. Raises OSError."""
        self._printed = b""
        self._report = b""
        self._time = StageTime()
        self._memory_mb = request.order.terms.trial_memory_mb
        with contextlib.ExitStack() as stack:
            request_fd = sealed_memfd("stage", request.to_bytes())
            stack.callback(os.close, request_fd)
            self._report_fd, report_fd = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, report_fd)
            undo = stack.enter_context(contextlib.ExitStack())
            undo.callback(os.close, self._report_fd)
            handed = [request_fd, report_fd]
            command = [sys.executable, "-m", "engine.trials.stage", str(os.getpid()), str(request_fd), str(report_fd)]
            if factory_fd is not None:
                # Opened anew: descriptors of one opening share the place up to which was read.
                again_fd = os.open(f"/proc/self/fd/{factory_fd}", os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, again_fd)
                handed.append(again_fd)
                command.append(str(again_fd))
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=handed, env=dict(environment),
            )
            assert self._process.stdout is not None
            self._poller = select.poll()
            for fd in (self._report_fd, self._process.stdout.fileno()):
                self._poller.register(fd, select.POLLIN)
            undo.pop_all()

    def __enter__(self) -> StageProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        end_children()  # what the model or a compiler has started
        os.close(self._report_fd)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait(self, *, limit_s: float, clock_limit_s: float, starved_s: float) -> StageReport | None:
        """How it ended, at the latest after `limit_s` of its own time or `clock_limit_s` by the clock.

        None: others had the processor for `starved_s`, most of its time so far.
        """
        while not self._look():
            self._time.note(self._process.pid)
            if self._time.own_s > limit_s or self._time.own_s + self._time.starved_s > clock_limit_s:
                return self._failed(f"it did not end within {min(limit_s, clock_limit_s):.0f} s")
            if _memory_of(self._process.pid) > self._memory_mb << 20:  # by ways that its own limit does not see
                return self._failed(f"it took more than its memory (trial_memory_mb={self._memory_mb})")
            if self._time.starved_s > starved_s and self._time.starved_share > 0.5:
                return None
        return self._ended()

    def _look(self) -> bool:
        """Reads what there is, or waits for some; whether the report is complete or never will be."""
        for fd, _ in self._poller.poll(_LOOK_EVERY_MS):
            piece = os.read(fd, _PIECE_BYTES)
            if not piece:
                self._poller.unregister(fd)
            if fd != self._report_fd:
                self._printed = (self._printed + piece)[-_TOLD_BYTES:]
                continue
            self._report += piece
            # A line, since what the stage has forked may keep the pipe open.
            if not piece or self._report.endswith(b"\n") or len(self._report) > _LARGEST_REPORT_BYTES:
                return True
        return False

    def _ended(self) -> StageReport:
        """The report; else what its death says."""
        self._time.note(self._process.pid)
        if (report := StageReport.from_bytes(self._report, self._time.own_s)) is not None:
            return report
        try:
            status = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # it has closed its end of the pipe and goes on
            return self._failed("it said nothing of use")
        return self._failed(f"it {describe_exit(status)}{self._last_words()}")

    def _failed(self, why: str) -> StageReport:
        return StageReport(failed=why, seconds=self._time.own_s)

    def _last_words(self) -> str:
        """The last line that it printed before it died, where there is one; without the stack that follows a crash."""
        printed = self._printed.decode(errors="replace").partition(_STACK)[0]
        lines = printed.strip().splitlines()
        return f": {lines[-1].strip()[:200]}" if lines else ""


def _memory_of(pid: int) -> int:
    """Bytes of its own memory that the process has touched; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:")), 0)
