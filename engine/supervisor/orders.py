"""Orders that change what is desired: one at a time, each written down before it is begun.

An order is tried twice. The first time shows what there would be to write; it is undone, and written. Once it is on
disk the order is carried out. The loop waits for nothing meanwhile; whoever gave it is told if the disk takes too long.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable

from engine.errors import QueueFull
from engine.supervisor.guard import caught
from engine.supervisor.loop import Loop, Timer
from engine.supervisor.recorder import ANSWER_WITHIN_S, NotYetWritten, Recorder, not_written
from engine.supervisor.slow_work import SlowWork

MOST_ORDERS = 100  # arbitrary: nobody gives so many at once


class Order:
    """What somebody wants. Told `refuse` at most once, and nothing if it is carried out."""

    def __init__(
        self,
        act: Callable[[], object],
        refuse: Callable[[Exception], object],
        *,
        prepare: Callable[[], object] | None = None,
        finish: Callable[[bool], object] = bool,
    ) -> None:
        """`act` may be repeated for as long as it raises; `prepare` runs before it, in the thread of slow work.

        `finish` is told once, when nothing is done with the order any more, whether it was refused.
        """
        self.act = act
        self.prepare = prepare
        self.finish = finish
        self._refuse = refuse
        self.is_refused = False
        self.deadline: Timer | None = None

    def refuse(self, error: Exception) -> None:
        """It will not be carried out. Idempotent."""
        if not self.is_refused:
            self._refuse(error)
            self.is_refused = True


class Orders:
    """In the order they were given."""

    def __init__(self, loop: Loop, recorder: Recorder, slow_work: SlowWork) -> None:
        self._loop = loop
        self._recorder = recorder
        self._slow_work = slow_work
        self._waiting: deque[Order] = deque()
        self._at_hand: Order | None = None  # the first of them, once it is begun

    @property
    def waiting(self) -> int:
        """How many are not over."""
        return len(self._waiting)

    def give(self, order: Order) -> None:
        """Carried out, or refused, now or later."""
        if len(self._waiting) >= MOST_ORDERS:
            order.refuse(QueueFull(f"{MOST_ORDERS} orders wait to be carried out"))
            order.finish(True)
            return
        self._waiting.append(order)
        order.deadline = self._loop.call_after(ANSWER_WITHIN_S, functools.partial(self._give_up, order))
        if len(self._waiting) == 1:
            self._loop.attempt(self._begin)

    def _begin(self) -> None:
        """With the first of those that wait, once: it is asked for by those who come and for those who wait."""
        if not self._waiting or self._waiting[0] is self._at_hand:
            return
        order = self._at_hand = self._waiting[0]
        try:
            self._prepare(order)
        except Exception:  # it is begun again
            if self._at_hand is order:
                self._at_hand = None
            raise

    def _prepare(self, order: Order) -> None:
        if order.is_refused or order.prepare is None:
            self._try(order)
            return
        failed = functools.partial(self._over, order)
        error = caught(
            lambda: self._slow_work.submit(order.prepare or order.act, lambda _: self._try(order), failed)
        )
        if error is not None:
            self._over(order, error)

    def _try(self, order: Order) -> None:
        """Finds out what there is to write; nothing, if nothing is recorded just now."""
        if order is not self._at_hand:
            return  # repeated, and over
        if order.is_refused:
            self._recorder.persist()  # it is known by then whether the disk answers again
        error = None if order.is_refused else caught(order.act)
        if isinstance(error, NotYetWritten):
            written = functools.partial(self._written, order)
            error = caught(functools.partial(self._recorder.write_order, error.content, written))
            if error is None:
                return
        self._over(order, error)

    def _written(self, order: Order, error: Exception | None) -> None:
        if order is not self._at_hand:
            return  # repeated, and over: what is carried out must not be carried out once more
        if error is not None:
            self._over(order, not_written(error))
        elif order.is_refused:
            self._recorder.persist()  # what is on disk now is not what is desired
            self._over(order, None)
        else:
            error = caught(functools.partial(self._recorder.granting, order.act))
            if error is not None:
                self._recorder.persist()  # likewise: it was undone
            self._over(order, error)

    def _give_up(self, order: Order) -> None:
        """It waits for the disk, or for another order that does."""
        order.refuse(self._recorder.blame_disk())

    def _over(self, order: Order, error: Exception | None) -> None:
        if order not in self._waiting:
            return  # repeated
        if error is not None:
            order.refuse(error)  # before it is forgotten: should that fail, it is done again
        self._waiting.remove(order)
        self._at_hand = None
        if order.deadline is not None:
            order.deadline.cancel()
        self._loop.attempt(functools.partial(order.finish, order.is_refused))
        self._loop.call_after(0.0, self._begin)
