"""A bounded pool of daemon threads that an event loop hands work to.

Not `concurrent.futures`: the interpreter joins that pool's threads before it ends, so one view that hangs would keep a
leaving process alive. Threads are started when there is work for them and then kept.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Job:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    function: Callable[[], Any]


class ThreadPool:
    """At most `size` threads; further work waits in order of arrival. Used from one event loop at a time."""

    def __init__(self, size: int, *, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count()
        self._busy = 0  # jobs handed over and not yet answered; changed on the loop only

    def submit(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """What `function()` returns or raises, called in a thread. Cancelling does not stop a call that has begun."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        future.add_done_callback(self._count_done)
        self._busy += 1
        self._jobs.put(_Job(loop, future, function))
        if self._busy > len(self._threads) and len(self._threads) < self._size:
            self._start_thread()
        return future

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the threads once their work is done; one that takes longer is left to die with the process."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout_s)
        self._threads.clear()

    def _count_done(self, future: asyncio.Future[Any]) -> None:
        self._busy -= 1

    def _start_thread(self) -> None:
        name = f"{self._name}-{next(self._numbers)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while _do(self._jobs.get()):
            pass


def _do(job: _Job | None) -> bool:
    """False: there is no more to do. Nothing of the job is held when it returns.

    A thread that waits would else keep its last upload; and what a job raises leads by its traceback to this frame, so
    that error, frame and the job's future would keep each other.
    """
    if job is None:
        return False
    outcome: tuple[Any, BaseException | None] = None, None
    try:
        if job.future.cancelled():
            return True
        outcome = job.function(), None
    except BaseException as raised:  # whatever it is, the coroutine that waits has to deal with it, and not this thread
        outcome = None, raised
    try:
        job.loop.call_soon_threadsafe(_settle, job.future, *outcome)
    except RuntimeError:  # the loop is closed: nobody waits any more
        pass
    finally:
        del job, outcome
    return True


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future refuses it
        future.set_exception(RuntimeError(f"the function raised {error!r}"))
    else:
        future.set_exception(error)
