"""Those who gave an order that takes its time, and wait to hear how it ended."""

from __future__ import annotations

import functools
from collections.abc import Callable

from engine.errors import EngineError
from engine.supervisor.loop import Loop

Waiter = Callable[[EngineError | None], None]  # told once: None for done


class Waiters:
    """For one kind of news. Who hears it fail to be told is told again, and hinders nobody."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._all: list[Waiter] = []

    def add(self, waiter: Waiter | None) -> None:
        """None for what happens by itself, without anybody who waits."""
        if waiter is not None:
            self._all.append(waiter)

    def taken(self) -> Waiters:
        """Those that wait just now, to be told later; whoever comes meanwhile waits for other news."""
        found = Waiters(self._loop)
        found._all, self._all = self._all, []
        return found

    def tell(self, error: EngineError | None = None) -> None:
        """How it ended, to all that wait just now."""
        told, self._all = self._all, []
        for waiter in told:
            self._loop.attempt(functools.partial(waiter, error))
