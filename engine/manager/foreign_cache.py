"""Somebody's cache: any object with `get_prediction` and `cache_prediction`, sync or async, slow or broken.

It is asked with the sound alone. So what it is given to keep says which deployment and version of the model it is from,
and what it gives back is believed only if it says the same.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from engine.clock import Deadline
from engine.errors import BrokenError, EngineError
from engine.manager.foreign import foreign_code
from engine.manager.foreign_loop import ForeignLoop, within
from engine.manager.results import PUBLISHED_KEYS, Result

_log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """What an answer is from."""

    deployment_id: str
    model_version: str


def for_keeping(result: Result, origin: Origin) -> Result:
    """What a cache is given: a copy, which the caller of `predict` cannot change under it."""
    return {**_copied(result), **origin._asdict()}


def believed(found: object, origin: Origin) -> Result | None:
    """What a cache has given back, as it was before it was kept; None for what is of another origin, or strange."""
    result = None
    with _failing_is_a_miss():
        if isinstance(found, dict) and all(found.get(name) == of for name, of in origin._asdict().items()):
            result = _copied({name: found[name] for name in PUBLISHED_KEYS})
    return result


def ask(cache: Any, method: str, *arguments: Any, due: Deadline, loop: ForeignLoop) -> Any:
    """Its answer; None when it fails or, being async, takes longer than the request has. `loop`: for coroutines."""
    found = None
    with _failing_is_a_miss():
        answer = getattr(cache, method)(*arguments)
        found = loop.result_of(answer, due) if inspect.isawaitable(answer) else answer
    return found


async def ask_async(cache: Any, method: str, *arguments: Any, due: Deadline) -> Any:
    """Its answer, wherever it blocks; None when it fails or takes longer than the request has."""
    found = None
    with _failing_is_a_miss():
        found = await within(_called(getattr(cache, method), *arguments), due)
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


def _copied(result: Result) -> Result:
    return {**result, "top_predictions": [dict(row) for row in result["top_predictions"]]}


async def _called(method: Any, *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(method):
        return await method(*arguments)
    found = await asyncio.to_thread(method, *arguments)
    return await found if inspect.isawaitable(found) else found
