"""One request on its way: what goes in (`Item`), what comes out (`ItemAnswer`), and the ticket that waits in between.

A ticket is done exactly once: by its last answer, by its deadline, by `cancel`, or because the engine closed. Whoever
is first wins, under the ticket's lock; everybody later is told so and changes nothing. The lock is held for list work
only, never while a waiter is woken or a payload copied, and no other lock is taken under it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_S, now_ns
from engine.errors import ClientGone, DeadlineExceeded, EngineError, InheritedByFork

_log = logging.getLogger(__name__)

NO_PROBABILITIES: NDArray[np.float32] = np.empty(0, np.float32)


class Item(NamedTuple):
    """One input of the model: C-contiguous, float32 in the model's input shape, or int16 for waveform models.

    The instance computes `payload * gain` (int16: `* gain / 32768`) and fills a shorter waveform up with zeros.
    """

    payload: NDArray[Any]
    gain: float = 1.0


@dataclass(slots=True)
class ItemAnswer:
    """What became of one item. `probabilities`: float32 [classes], empty when `error` is set; durations in seconds."""

    probabilities: NDArray[np.float32]
    batch_size: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0
    error: EngineError | None = None


class SlotKeeper(Protocol):
    """Whoever has the slot of a flight."""

    def abandon(self, flight: Flight) -> None:
        """Nobody waits for `flight` any more."""


@dataclass(slots=True, eq=False)
class Flight:
    """One item in one slot.

    It knows its slot by numbers, because the slot's record leads to it: with a reference back, each request would
    leave a cycle for the garbage collector.
    """

    ticket: Ticket
    index: int
    attachment: SlotKeeper
    slot: int = -1  # until the submission has returned
    generation: int = 0


class TicketKeeper(Protocol):
    """What a ticket needs of whoever handed it out."""

    def retire(self, ticket: Ticket) -> None:
        """Called once, when the ticket is done, before anybody is woken."""


class Ticket:
    """A submitted request. Every method may be called from any thread, also while an event loop drives the client."""

    __slots__ = (
        "request_id", "level", "arrival_ns", "turn_ns", "deadline_ns", "caller_hash", "items", "answers", "error",
        "done", "in_flight", "done_ns", "_todo", "_left", "_keeper", "_lock", "_callbacks",
    )  # fmt: skip

    def __init__(
        self,
        items: Sequence[Item],
        keeper: TicketKeeper,
        *,
        request_id: str,
        level: int,
        arrival_ns: int,
        deadline_ns: int,
        caller_hash: int,
    ) -> None:
        self.request_id = request_id
        self.level = level
        self.arrival_ns = arrival_ns
        self.turn_ns = arrival_ns  # since when its next items wait: what decides the order among requests
        self.deadline_ns = deadline_ns
        self.caller_hash = caller_hash
        self.items: Sequence[Item] = items  # dropped when done, with the payloads
        self.answers: list[ItemAnswer | None] = [None] * len(items)
        self.error: EngineError | None = None  # why the whole request has no answer
        self.done = False
        self.done_ns = 0
        self.in_flight: list[Flight] = []  # changed under the lock; those left when done are for the keeper to abandon
        self._todo = deque(range(len(items)))
        self._left = len(items)  # == answers that are None
        self._keeper = keeper
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Ticket], None]] | None = None

    # --- for callers ------------------------------------------------------------------------------------------------

    def wait(self) -> list[ItemAnswer]:
        """Blocks until done. Raises the request's error, or else the first one of an item.

        DeadlineExceeded is raised on time by the waiting thread itself, whatever drives the client.
        """
        if not self.done:
            woken = threading.Event()
            self.add_done_callback(lambda _: woken.set())
            if not woken.wait(min(threading.TIMEOUT_MAX, (self.deadline_ns - now_ns()) / NS_PER_S)):
                self.expire()
        return self.result()

    async def wait_async(self) -> list[ItemAnswer]:
        """`wait` for a coroutine of any loop. Cancelling the coroutine leaves the ticket alone; see `cancel`."""
        if not self.done:
            loop = asyncio.get_running_loop()
            self.add_done_callback(_Waker(loop, future := loop.create_future()))
            await future
        return self.result()

    def result(self) -> list[ItemAnswer]:
        """The answers of a ticket that is done, one an item; raises as `wait` does."""
        # Copies are raised: one that is kept here would keep, by its traceback, the frames it went through, and with
        # them this ticket, a cycle for the garbage collector.
        if self.error is not None:
            raise copy(self.error)
        found = [answer for answer in self.answers if answer is not None]
        for answer in found:
            if answer.error is not None:
                raise copy(answer.error)
        return found

    def cancel(self) -> None:
        """Nobody wants the answer any more: what is queued is withdrawn. Whoever still waits gets ClientGone."""
        self.fail(ClientGone())

    def add_done_callback(self, callback: Callable[[Ticket], None]) -> None:
        """Calls `callback(ticket)` once done, in the thread that finishes it; at once when it is done already."""
        with self._lock:
            if not self.done:
                if self._callbacks is None:
                    self._callbacks = [callback]
                else:
                    self._callbacks.append(callback)
                return
        callback(self)

    # --- for the client ---------------------------------------------------------------------------------------------

    @property
    def unsent(self) -> bool:
        """Whether items have no slot yet, and still want one."""
        return bool(self._todo) and not self.done

    @property
    def has_unsent_items(self) -> bool:
        """Whether items have no slot yet, wanted or not."""
        return bool(self._todo)

    def wants_slot(self, window: int) -> bool:
        """Whether `take_off` would give an item."""
        with self._lock:
            return not self.done and bool(self._todo) and len(self.in_flight) < window

    def take_off(self, attachment: SlotKeeper, window: int) -> Flight | None:
        """The next item, counted as in flight; None when there is none, or `window` items are in flight already."""
        with self._lock:
            if self.done or not self._todo or len(self.in_flight) >= window:
                return None
            flight = Flight(self, self._todo.popleft(), attachment)
            self.in_flight.append(flight)
            return flight

    def turn_back(self, flight: Flight) -> None:
        """The item of `flight` got no slot, or was refused uncomputed: it is the next one to send."""
        with self._lock:
            if not self.done:
                self.in_flight.remove(flight)
                self._todo.appendleft(flight.index)

    def land(self, flight: Flight, answer: ItemAnswer) -> None:
        """Files the answer of `flight`; the last one finishes the ticket. Too late: no effect."""
        with self._lock:
            if self.done:
                return
            self.in_flight.remove(flight)
            self.answers[flight.index] = answer
            self._left -= 1
            if self._left:
                return
            self.done = True
        self._finish()

    def expire(self) -> None:
        """The deadline has passed."""
        waited_s = (self.deadline_ns - self.arrival_ns) / NS_PER_S
        self.fail(DeadlineExceeded(f"no answer within {waited_s:.3g} s"))

    def fail(self, error: EngineError) -> None:
        """Finishes the ticket without an answer. Too late: no effect."""
        with self._lock:
            if self.done:
                return
            self.done = True
            self.error = error
        self._finish()

    def let_go_in_child(self) -> None:
        """In a forked child: it ends here, and nobody is told; the parent's copy goes on."""
        self._lock = threading.Lock()
        if not self.done:
            self.error = InheritedByFork()
            self.done = True
        self.in_flight, self.items, self._callbacks = [], (), None

    def _finish(self) -> None:
        """Only the one who set `done` comes here."""
        self.done_ns = now_ns()
        self._keeper.retire(self)
        self.items = ()
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception:  # somebody else's code: those who are answered after this ticket must not suffer from it
                _log.exception("a callback of request %s failed", self.request_id)


class _Waker:
    """Completes a future of `loop`, directly when the finishing thread is the loop's own."""

    __slots__ = ("_loop", "_future", "_thread_id")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
        self._loop = loop
        self._future = future
        self._thread_id = threading.get_ident()

    def __call__(self, ticket: Ticket) -> None:
        if threading.get_ident() == self._thread_id:
            self._set()
            return
        try:
            self._loop.call_soon_threadsafe(self._set)
        except RuntimeError:  # that loop was closed, and its coroutines with it
            return

    def _set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
