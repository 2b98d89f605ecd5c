"""A thread of a store's own that does one step again and again: when it said it would, or when it is woken."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ticker:
    """`step()` returns the seconds until its next turn; None: not before it is woken.

    The thread starts with the first `wake`, is a daemon, and ends with `close` or with what a step raises. A wake that
    comes while a step runs has it run once more: nothing that was changed before a wake is missed.
    """

    def __init__(self, step: Callable[[], float | None], *, name: str) -> None:
        self._step = step
        self._name = name
        self._changed = threading.Condition()
        self._is_due = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Has the next step begin now. Nothing after `close`."""
        with self._changed:
            if self._is_closed:
                return
            self._is_due = True
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Ends the thread and waits for it, but not for a step that takes longer than `timeout_s`. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        pause_s: float | None = 0.0
        while self._waits_its_turn(pause_s):
            pause_s = self._step()

    def _waits_its_turn(self, pause_s: float | None) -> bool:
        """False: closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_due or self._is_closed, pause_s)
            self._is_due = False
            return not self._is_closed
