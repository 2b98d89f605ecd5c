"""One thread beside the loop, for what takes as long as a disk or a server takes: files now, stores to come.

Jobs run in the order they were given, one at a time. What a job returns or raises is handled in the loop, like every
other event. A job that hangs holds up those behind it, and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from engine.clock import NS_PER_S, now_ns
from engine.errors import QueueFull
from engine.supervisor.guard import caught, step_name
from engine.supervisor.loop import Loop

MOST_JOBS = 100  # arbitrary: whoever gives jobs here waits for the last one before the next, or is somebody's order
LEAVE_WITHIN_S = 2.0
THREAD_NAME = "slow-work"

Result = TypeVar("Result")


class SlowWork:
    """`submit` and `attempt` are for the loop's thread; a job must touch nothing that a handler changes meanwhile."""

    def __init__(self, loop: Loop, name: str = THREAD_NAME) -> None:
        """`name`: of its thread, 15 characters at most."""
        self._loop = loop
        self._busy_since_ns = 0  # 0: nothing is being done; written by the thread alone
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(MOST_JOBS)
        # A daemon: a disk that never answers must not keep the process, and nothing of ours is lost with the thread.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self,
        job: Callable[[], Result],
        done: Callable[[Result], object],
        failed: Callable[[Exception], object],
    ) -> None:
        """Runs `job` in the thread, then one of the others in the loop. Raises QueueFull."""
        try:
            self._jobs.put_nowait(functools.partial(self._do, job, done, failed))
        except queue.Full as error:
            raise QueueFull(f"{MOST_JOBS} jobs wait for the disk") from error

    def attempt(self, job: Callable[[], object]) -> None:
        """Runs `job` in the thread, and again after a pause should it fail. Raises QueueFull."""
        self.submit(job, lambda _: self._loop.guard.over(job), functools.partial(self._again, job))

    @property
    def busy_s(self) -> float:
        """For how long the job at hand has been worked on."""
        since_ns = self._busy_since_ns
        return (now_ns() - since_ns) / NS_PER_S if since_ns else 0.0

    def close(self) -> None:
        """Joins the thread once all jobs are done, or leaves it behind one that hangs. Nothing is reported any more."""
        with contextlib.suppress(queue.Full):  # as many jobs wait as can: it hangs
            self._jobs.put_nowait(None)
            self._thread.join(LEAVE_WITHIN_S)

    def _again(self, job: Callable[[], object], error: Exception) -> None:
        pause_s = self._loop.guard.failed(job, step_name(job), error)
        self._loop.call_after(pause_s, functools.partial(self.attempt, job))

    def _run(self) -> None:
        # By its name whoever looks at a process that waits for a disk sees which of its threads does. Where /proc is
        # read-only it has none, which is no reason to do no work.
        with contextlib.suppress(OSError):
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(self._thread.name)
        while (job := self._jobs.get()) is not None:
            self._busy_since_ns = now_ns()
            job()
            self._busy_since_ns = 0

    def _do(
        self,
        job: Callable[[], Any],
        done: Callable[[Any], object],
        failed: Callable[[Exception], object],
    ) -> None:
        results: list[Any] = []
        error = caught(lambda: results.append(job()))
        report = functools.partial(done, results[0]) if error is None else functools.partial(failed, error)
        self._loop.call_soon_threadsafe(report)
