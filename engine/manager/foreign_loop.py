"""An event loop for somebody's coroutines, for callers that have none: always the same one, in a thread of its own.

Clients of databases and the like belong to the loop that they were first used in; a new loop for each call would have
each call but the first fail.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

from engine.clock import Deadline

_END_S = 0.5  # how long coroutines that are cancelled at the end have


class ForeignLoop:
    """Starts with the first coroutine. For any thread, also one whose own loop runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # changed under the lock
        self._thread: threading.Thread | None = None

    def result_of(self, awaitable: Awaitable[Any], due: Deadline) -> Any:
        """What it returns or raises. Raises asyncio.TimeoutError once `due` is past, and then it is cancelled."""
        return asyncio.run_coroutine_threadsafe(within(awaitable, due), self._running()).result()

    def close(self) -> None:
        """Ends the loop; what runs in it is cancelled. Idempotent; the next coroutine starts another."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(2 * _END_S)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="nightscan-cache", daemon=True)
                self._thread.start()
            return self._loop


async def within(awaitable: Awaitable[Any], due: Deadline) -> Any:
    """What it returns or raises; asyncio.TimeoutError once `due` is past, or where it was cancelled by others than us.

    Not `wait_for`, which waits for who does not let itself be cancelled, and takes a cancellation inside for one of its
    caller.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({task}, timeout=due.remaining_s())
        if not task.done() or task.cancelled():
            raise asyncio.TimeoutError()
        return task.result()
    finally:
        task.cancel()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_END_S))
    finally:
        loop.close()
