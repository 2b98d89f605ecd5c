"""Somebody's cache: any object with `get_prediction` and `cache_prediction`, sync or async, slow or broken."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.clock import Deadline
from engine.errors import BrokenError, EngineError
from engine.manager.foreign import foreign_code

_log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()  # around the event loops that are made for async caches in threads


def ask(method: Any, *arguments: Any, due: Deadline) -> Any:
    """Its answer; None when it fails or, being async, takes longer than the request has.

    Coroutines run one at a time, each in an event loop of its own.
    """
    found = None
    with _failing_is_a_miss():
        answer = method(*arguments)
        if inspect.isawaitable(answer):
            with _one_at_a_time:
                answer = asyncio.run(_within(answer, due))
        found = answer
    return found


async def ask_async(method: Any, *arguments: Any, due: Deadline) -> Any:
    """Its answer, wherever it blocks; None when it fails or takes longer than the request has."""
    found = None
    with _failing_is_a_miss():
        found = await _within(_called(method, *arguments), due)
    return found


@contextmanager
def _failing_is_a_miss() -> Iterator[None]:
    try:
        with foreign_code(lambda error: BrokenError(f"the cache failed: {error}")):
            yield
    except EngineError as error:
        if isinstance(error.__cause__, asyncio.TimeoutError):
            _log.warning("the cache did not answer in time")
        else:
            _log.error("the cache failed", exc_info=error)


async def _within(awaitable: Any, due: Deadline) -> Any:
    return await asyncio.wait_for(awaitable, due.remaining_s())


async def _called(method: Any, *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(method):
        return await method(*arguments)
    found = await asyncio.to_thread(method, *arguments)
    return await found if inspect.isawaitable(found) else found
