"""Publishes what the supervisor knows: at every change, and twice a second while nothing happens."""

from __future__ import annotations

from collections.abc import Callable

from engine.clock import NS_PER_S, now_ns
from engine.supervisor.loop import Loop, Timer

EVERY_S = 0.5
SOONEST_S = 0.02  # after the last one: a burst of changes is published once


class Publisher:
    """For the loop alone."""

    def __init__(self, loop: Loop, publish: Callable[[], object]) -> None:
        """`publish` looks at everything there is and hands it on; it does not wait."""
        self._loop = loop
        self._publish = publish
        self._next: Timer | None = None
        self._last_ns = 0

    def start(self) -> None:
        """From here on. Idempotent."""
        if self._next is None:
            self._due(0.0)

    def changed(self) -> None:
        """Something did: published once the handler at hand is through, with all else that it does."""
        if self._next is None:
            return
        since_s = (now_ns() - self._last_ns) / NS_PER_S
        self._due(max(0.0, SOONEST_S - since_s))

    def _due(self, delay_s: float) -> None:
        at_ns = now_ns() + int(delay_s * NS_PER_S)
        if self._next is not None:
            if self._next.at_ns <= at_ns:
                return
            self._next.cancel()
        self._next = self._loop.call_after(delay_s, self._look)

    def _look(self) -> None:
        """Raises whatever stands in the way; the loop comes back."""
        self._publish()
        self._last_ns = now_ns()
        self._next = self._loop.call_after(EVERY_S, self._look)
