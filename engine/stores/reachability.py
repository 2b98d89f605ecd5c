"""Whether a server answers, as the threads of a process find out together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from engine.clock import NS_PER_S, now_ns
from engine.core.breaker import Breaker, BreakerState

_LONGEST_TEXT = 200  # characters

_log = logging.getLogger(__name__)


class Reachability:
    """A breaker with its reason. For any thread; says in the log once that a server is away, and once that it is back.

    Equation: while `is_answering`, the breaker is closed.
    """

    def __init__(self, name: str, *, when_away: Callable[[], object]) -> None:
        """`name`: of the server, for people. `when_away` is called whenever the breaker opens, without the lock."""
        self._name = name
        self._when_away = when_away
        self._lock = threading.Lock()  # held for a few steps; what stands below changes under it alone
        self._breaker = Breaker(longest_pause_ns=NS_PER_S)  # one thread of one process asks: it costs nobody anything
        self._trouble = ""
        self._answers = threading.Event()

    @property
    def state(self) -> BreakerState:
        """As of now."""
        return self._breaker.state

    @property
    def trouble(self) -> str:
        """What the last failure said, in one line; "" while the server is asked."""
        return self._trouble if self._breaker.state is not BreakerState.CLOSED else ""

    @property
    def is_answering(self) -> bool:
        """Whether it has answered, and the breaker has not opened since."""
        return self._answers.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Whether the server answers, waiting for it up to `timeout_s`."""
        return self._answers.wait(timeout_s)

    def may_try(self) -> bool:
        """As of `Breaker`: whoever may must say how it went."""
        with self._lock:
            return self._breaker.may_try(now_ns())

    def answered(self) -> None:
        """It has answered."""
        if self._answers.is_set() and not self._trouble:
            return
        with self._lock:
            was = self._breaker.state
            self._breaker.succeeded()
            self._trouble = ""
            self._answers.set()
        if was is not BreakerState.CLOSED:
            _log.warning("%s answers again", self._name)

    def failed(self, error: Exception) -> None:
        """It has not, for this reason."""
        with self._lock:
            was = self._breaker.state
            self._breaker.failed(now_ns())
            self._trouble = one_line(error)
            has_opened = self._breaker.state is BreakerState.OPEN and was is not BreakerState.OPEN
            if has_opened:
                self._answers.clear()
        if has_opened:
            if was is BreakerState.CLOSED:
                _log.warning("%s: %s", self._name, self._trouble)
            self._when_away()

    def abandoned(self) -> None:
        """Nobody knows: it was not asked after all."""
        with self._lock:
            self._breaker.abandoned(now_ns())


def one_line(error: Exception) -> str:
    """What an error says, short; its class where it says nothing."""
    return " ".join(str(error).split())[:_LONGEST_TEXT] or type(error).__name__
