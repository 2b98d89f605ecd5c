"""One request on its way: its items, and the ticket that waits until each of them has come home.

A ticket is done exactly once: by its last answer, by its deadline, by `cancel`, or because the engine closed. Whoever
is first wins, under the ticket's lock; everybody later is told so and changes nothing. The lock is held for list work
only, never while a waiter is woken or a payload copied, and no other lock is taken under it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from copy import copy
from typing import Any, Protocol

from engine.callbacks import call_back
from engine.clock import NS_PER_S, now_ns
from engine.errors import ClientGone, DeadlineExceeded, EngineError, InheritedByFork
from engine.shm.item import NO_PAYLOAD, Item
from engine.spec import ModelDescription


class Issuer(Protocol):
    """Whoever handed a ticket out."""

    def retire(self, ticket: Ticket) -> None:
        """Called once, when the ticket is done, before anybody is woken."""


class Ticket:
    """A submitted request. Every method may be called from any thread, also while an event loop drives the client."""

    __slots__ = (
        "request_id", "level", "arrival_ns", "turn_ns", "deadline_ns", "caller_hash", "items", "error", "is_flawed",
        "done", "done_ns", "to_send", "in_flight", "bucket", "model", "is_of_two_models", "_left", "_issuer", "_lock",
        "_callbacks",
    )  # fmt: skip

    def __init__(
        self,
        items: Sequence[Item],
        issuer: Issuer,
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
        self.items = items
        self.error: EngineError | None = None  # why the whole request has no answer
        self.is_flawed = False  # an item has an error of its own
        self.done = False
        self.done_ns = 0
        self.to_send = deque(items)  # items that have no slot yet, the next one first. Changed under the lock
        self.in_flight = 0  # items that have one. Changed under the lock
        self.bucket: set[Ticket] | None = None  # where its deadline is noted
        # Whose answers its items have: the model of the version that they were sent to. Changed under the lock.
        self.model: ModelDescription | None = None  # None: none was sent
        self.is_of_two_models = False  # a swap came between: `model` is the last one's
        self._left = len(items)  # items that are not home; not counted any more once the ticket is done
        self._issuer = issuer
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Ticket], None]] | None = None
        for item in items:
            item.ticket = self  # until it is home, or this is done: a cycle for the garbage collector otherwise

    # --- for callers ------------------------------------------------------------------------------------------------

    def wait(self) -> Sequence[Item]:
        """Blocks until done; the items, with their answers. Raises the request's error, or else an item's first one.

        DeadlineExceeded is raised on time by the waiting thread itself, whatever drives the client.
        """
        if not self.done:
            woken = threading.Event()
            self.add_done_callback(lambda _: woken.set())
            if not woken.wait(min(threading.TIMEOUT_MAX, (self.deadline_ns - now_ns()) / NS_PER_S)):
                self.expire()
        # Copies are raised: one that is kept here would keep, by its traceback, the frames it went through, and with
        # them this ticket, a cycle for the garbage collector.
        if self.error is not None:
            raise copy(self.error)
        if self.is_flawed:
            raise next(copy(item.error) for item in self.items if item.error is not None)
        return self.items

    def __await__(self) -> Generator[Any, None, Sequence[Item]]:
        """`wait` for a coroutine of any loop. Cancelling the coroutine leaves the ticket alone; see `cancel`."""
        if not self.done:
            loop = asyncio.get_running_loop()
            self.add_done_callback(_Waker(loop, future := loop.create_future()))
            yield from future
        return self.wait()

    def cancel(self) -> None:
        """Nobody wants the answer any more: what is queued is withdrawn. Whoever still waits gets ClientGone."""
        if not self.done:
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

    def wants_slot(self, window: int) -> bool:
        """Whether `take_off` would give an item."""
        with self._lock:
            return not self.done and bool(self.to_send) and self.in_flight < window

    def take_off(self, window: int, model: ModelDescription) -> Item | None:
        """The next item, for `model`, counted as in flight; None when there is none, or `window` of them are already.
        """
        with self._lock:
            if self.done or not self.to_send or self.in_flight >= window:
                return None
            if self.model is not model:
                self.is_of_two_models = self.model is not None
                self.model = model
            self.in_flight += 1
            return self.to_send.popleft()

    def turn_back(self, item: Item) -> None:
        """`item` got no slot, or was refused uncomputed: it is the next one to send."""
        with self._lock:
            if not self.done:
                self.in_flight -= 1
                self.to_send.appendleft(item)
                if len(self.to_send) == len(self.items):
                    self.model = None  # it has done nothing for this ticket

    def land(self, item: Item, now: int) -> None:
        """`item` is home with its answer; the last one finishes the ticket. Too late: no effect."""
        with self._lock:
            if self.done:
                return
            item.ticket = None
            item.payload = NO_PAYLOAD
            self.in_flight -= 1
            self._left -= 1
            if item.error is not None:
                self.is_flawed = True
            if self._left:
                return
            self.done = True
        self._finish(now)

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
        for item in self.items:
            item.ticket = None  # before the payload: whoever is about to copy it into a slot looks in the other order
            item.payload = NO_PAYLOAD
        self._finish(now_ns())

    def let_go_in_child(self) -> None:
        """In a forked child: it ends here, and nobody is told; the parent's copy goes on."""
        self._lock = threading.Lock()
        if not self.done:
            self.error = InheritedByFork()
            self.done = True
        self.items, self._callbacks = (), None
        self.to_send.clear()

    def _finish(self, now: int) -> None:
        """Only the one who set `done` comes here."""
        self.done_ns = now
        self._issuer.retire(self)
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            call_back(self.request_id, callback, self)


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
