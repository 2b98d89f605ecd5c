"""Runs one step at a time and survives it: an unexpected exception is written down, and the step tried again later.

An exception that left the loop would end the process that looks after everybody else, over a matter that concerns one
of them. So every handler runs inside a guard of its own.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable
from typing import Any

from engine.clock import NS_PER_S, now_ns
from engine.core.health import Health, Trouble

_log = logging.getLogger(__name__)


class Guard:
    """The only one that writes its `health`."""

    def __init__(self) -> None:
        self.health = Health()

    def run(self, key: Hashable, act: Callable[[], object]) -> float | None:
        """Runs `act`; None if it returned, else the pause in seconds after which it is to be tried again."""
        error = caught(act)
        if error is not None:
            return self.failed(key, step_name(act), error)
        if self.health.degraded:
            self.over(key)
        return None

    def failed(self, key: Hashable, step: str, error: Exception) -> float:
        """`step` met `error`; the pause in seconds after which to try it again."""
        failure = self.health.note(key, step, error, now_ns())
        if failure.is_news:
            _log.error("%s failed, tried again: %s", step, error, exc_info=error)
        return failure.pause_s

    def over(self, key: Hashable) -> None:
        """The step succeeded, or nobody tries it any more. Nothing happens if it was not in trouble."""
        healed = self.health.heal(key, now_ns())
        if healed is not None:
            _log.info("%s: over after %d failures (%s)", healed.step, healed.count, healed.error)

    def describe(self) -> dict[str, Any]:
        """For status: whether all is well, what is not and since when, and what is over."""
        return {
            "state": "degraded" if self.health.degraded else "ok",
            "troubles": [_plain(each) for each in self.health.troubles()],
            "recent": [_plain(each) for each in self.health.recent()],
        }


def caught(act: Callable[[], object]) -> Exception | None:
    """Runs `act`; what it raised, for whoever has more to do about it than to try again."""
    try:
        act()
    except Exception as error:  # whatever it is: one step in trouble is no reason to stop the others
        return error
    return None


def step_name(act: Callable[..., object]) -> str:
    """What a handler is called in status and in the log: its class and method, and what it has in hand."""
    while isinstance(act, functools.partial):
        act = act.func
    name = str(getattr(act, "__qualname__", type(act).__qualname__)).replace(".<locals>", "")
    doing = getattr(getattr(act, "__self__", None), "doing", "")
    return f"{name} ({doing})" if doing else name


def _plain(trouble: Trouble) -> dict[str, Any]:
    since_s = (now_ns() - trouble.since_ns) / NS_PER_S
    return {"step": trouble.step, "error": trouble.error, "count": trouble.count, "since_s": round(since_s, 3)}
