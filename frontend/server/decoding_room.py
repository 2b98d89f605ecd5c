"""Room in memory for what decoding a long recording takes, counted with the bodies of uploads.

A handler that meets a long recording does not decode it at once but says how much that takes. Whoever called it waits
for so much room in its own way, an event loop in a future and a view in its thread, and calls again. The room is kept
until nobody holds it any more: the request has it, and so does whatever still has its windows.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Protocol

from engine.clock import Deadline
from frontend.server.inflight import InflightBodies, Wish

UNRESERVED_BYTES = 8 * 1024 * 1024  # most recordings take less, and nobody waits for these
ROOM = "nightscan.room"  # in a WSGI environ: the `RoomForThreads` of the server behind it
_LATE_S = 5.0  # an event loop that has not said anything by then will not


class Room:
    """So much memory is kept for whoever holds this."""

    __slots__ = ("__weakref__",)


class RoomForThreads(Protocol):
    """Where a thread waits for room."""

    def wait(self, size_bytes: int, wait_s: float) -> Room | None:
        """Blocks for `wait_s` at most; None: there was no room by then."""


class LoopRoom:
    """The room of a frontend that counts on an event loop."""

    def __init__(self, inflight: InflightBodies, loop: asyncio.AbstractEventLoop) -> None:
        self._inflight = inflight
        self._loop = loop

    def ask(self, size_bytes: int, body_bytes: int, wait_s: float, told: Callable[[Room | None], None]) -> Wish:
        """On the loop: calls `told` there once, with the room or with None. body_bytes: which the asker keeps counted.
        """
        now_s = self._loop.time()
        wish = Wish(size_bytes, body_bytes, now_s + wait_s, lambda granted: told(self._room(wish) if granted else None))
        self._inflight.ask(wish, now_s)
        return wish

    def take_back(self, wish: Wish) -> None:
        """On the loop: nobody wants it any more. `told` is called if it was not yet."""
        self._inflight.take_back(wish, self._loop.time())

    def wait(self, size_bytes: int, wait_s: float) -> Room | None:
        """See `RoomForThreads`. For a thread that holds a body which is not counted: it is part of the size."""
        told: Future[Room | None] = Future()
        try:
            self._loop.call_soon_threadsafe(self.ask, size_bytes, 0, wait_s, told.set_result)
            return told.result(wait_s + _LATE_S)
        except (RuntimeError, FutureTimeout):  # the loop is closed, or as good as that
            return None

    def _room(self, wish: Wish) -> Room:
        room = Room()
        gone = weakref.finalize(room, self._inflight.give_back_later, self._loop, wish.size_bytes, wish.beyond_bytes)
        gone.atexit = False
        return room


class ThreadRoom:
    """The room of a process whose server counts nothing. Who waits longest is first; alone, anybody may go on."""

    def __init__(self) -> None:
        self.limit_bytes = 0
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def wait(self, size_bytes: int, wait_s: float) -> Room | None:
        """See `RoomForThreads`."""
        me = object()
        with self._changed:
            self._line.append(me)
            try:
                if not self._changed.wait_for(lambda: self._is_next(me, size_bytes), wait_s):
                    return None
                self._taken_bytes += size_bytes
            finally:
                self._line.remove(me)
                self._changed.notify_all()
        room = Room()
        gone = weakref.finalize(room, self._give_back, self._generation, size_bytes)
        gone.atexit = False
        return room

    def _is_next(self, me: object, size_bytes: int) -> bool:
        fits = self._taken_bytes + size_bytes <= self.limit_bytes or not self._taken_bytes
        return self._line[0] is me and fits

    def _give_back(self, generation: object, size_bytes: int) -> None:
        if generation is self._generation:
            with self._changed:
                self._taken_bytes -= size_bytes
                self._changed.notify_all()

    def _forget(self) -> None:
        """At first, and in a forked child: what other threads held and waited for has stayed in the parent."""
        self._generation = object()
        self._changed = threading.Condition(threading.RLock())
        self._line: list[object] = []
        self._taken_bytes = 0


_of_this_process = ThreadRoom()


def room_of_process(limit_bytes: int) -> RoomForThreads:
    """For views under another server. `limit_bytes`: of all of them together."""
    _of_this_process.limit_bytes = limit_bytes
    return _of_this_process


def patience_s(inflight_wait_s: float, deadline: Deadline) -> float:
    """How long a request may wait for room."""
    return min(inflight_wait_s, deadline.remaining_s())
