"""When the state file is written: before an order is begun, and after everything else as soon as that can be.

The disk is left to the slow work; the loop never waits for it. While an order is being written nothing else is, so that
no older state is written over it before it is begun.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from engine.errors import StateNotWritten
from engine.supervisor.guard import caught
from engine.supervisor.ledger import Ledger, State
from engine.supervisor.loop import Loop, Timer
from engine.supervisor.slow_work import SlowWork


ANSWER_WITHIN_S = 5.0  # of a disk; whoever gave an order is told then that it is not begun

Written = Callable[[Exception | None], None]  # told once, in the loop: None for done


class NotYetWritten(StateNotWritten):
    """What an order asks for is not on disk yet; `content` has to be, before the order is given again."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content


class Recorder:
    """The only one that has the state written. `is_on`: not while it is restored, nor once nothing is desired."""

    def __init__(self, loop: Loop, ledger: Ledger, slow_work: SlowWork, state: Callable[[], State]) -> None:
        """`state` says what there is to write."""
        self._loop = loop
        self._ledger = ledger
        self._slow_work = slow_work
        self._state = state
        self._again: Timer | None = None
        self._in_flight = 0  # writes that are not reported yet
        self._is_stale = False  # there is more to write than what is being written
        self._looks = False  # for what somebody may have removed
        self._granted = False  # what the order at hand asks for is on disk
        self._waiting: list[Callable[[], object]] = []  # for what was persisted to be on disk
        self.is_on = False

    def persist(self) -> None:
        """Writes what there is, as soon as it can be: nobody waits for it, and the next one writes all of it."""
        self._is_stale = True
        error = caught(self._write_all) if self.is_on and not self._in_flight else None
        if error is not None:  # whatever it is: what serves, or is being carried out, does not depend on a file
            self._write_later(error)

    def commit(self) -> None:
        """Raises NotYetWritten unless what an order asks for is written; it is then to be given again by `granting`."""
        if self._granted or not self.is_on:
            self.persist()
            return
        contents: list[bytes] = []
        error = caught(lambda: contents.append(self._ledger.content(self._state())))
        raise NotYetWritten(contents[0]) if error is None else not_written(error)

    def when_written(self, act: Callable[[], object]) -> None:
        """Calls `act` once what is persisted by now is on disk: now, or in the loop.

        Also where it cannot be written, or the disk has not answered for long: what has happened has happened.
        """
        if not self.is_on or not (self._in_flight or self._is_stale):
            act()
            return
        self._waiting.append(act)
        self._loop.call_after(ANSWER_WITHIN_S, functools.partial(self._release, act))

    def _release(self, act: Callable[[], object]) -> None:
        if act in self._waiting:
            self._waiting.remove(act)
            self._loop.attempt(act)

    def write_order(self, content: bytes, written: Written) -> None:
        """Writes `content`, and nothing else meanwhile; `written` is told in the loop."""
        self._write(content, written)

    def granting(self, act: Callable[[], object]) -> None:
        """Carries out an order that is written. Raises what `act` does."""
        self._granted = True
        try:
            act()
        finally:
            self._granted = False

    def keep_files(self) -> None:
        """Has put back what was removed."""
        if self.is_on and not self._looks:
            self._looks = True
            self._slow_work.submit(self._put_back, self._looked, self._look_failed)

    def blame_disk(self) -> StateNotWritten:
        """The disk does not answer: for status, and for whoever gave an order."""
        error = StateNotWritten(f"not begun, because the disk has not answered for {ANSWER_WITHIN_S:g} s")
        self._loop.guard.failed("state", "Ledger.write", error)
        return error

    def _put_back(self) -> bool:
        """In the thread of slow work: whether the state file is in place."""
        self._ledger.put_back_factories()
        return self._ledger.is_in_place

    def _looked(self, is_in_place: bool) -> None:
        self._looks = False
        if not is_in_place:
            self.persist()

    def _look_failed(self, error: Exception) -> None:
        self._looks = False
        self._write_later(error)

    def _write_all(self) -> None:
        self._write(self._ledger.content(self._state()), _nobody)

    def _write(self, content: bytes, written: Written) -> None:
        job = functools.partial(self._ledger.write, content)
        done = functools.partial(self._done, written)
        self._slow_work.submit(job, lambda _: done(None), done)
        self._is_stale = False
        self._in_flight += 1

    def _done(self, written: Written, error: Exception | None) -> None:
        self._in_flight -= 1
        if error is None:
            self._loop.guard.over("state")
        else:
            self._write_later(error)
        self._loop.attempt(functools.partial(written, error))
        if self._is_stale and error is None:
            self._loop.attempt(self.persist)
        if error is not None or not self._in_flight:
            for act in list(self._waiting):
                self._release(act)

    def _write_later(self, error: Exception) -> None:
        pause_s = self._loop.guard.failed("state", "Ledger.write", error)
        if self._again is None:
            self._again = self._loop.call_after(pause_s, self._write_once_more)

    def _write_once_more(self) -> None:
        self._again = None
        self.persist()


def not_written(error: Exception) -> StateNotWritten:
    """What an order is refused with."""
    return StateNotWritten(f"not begun, because the state of the engine cannot be written: {error}")


def _nobody(error: Exception | None) -> None:
    """Nobody waits for what is written by itself."""
