"""What drives a client: something that calls back when a descriptor is readable or a moment has come.

Two implementations of one contract. `ThreadReactor`: an epoll loop in one named thread, for scripts and for frontends
with threads. `LoopReactor`: `add_reader` and `call_at` on an asyncio loop, so that an answer completes its future in
the loop itself without changing threads.

Every callback runs in the reactor's own thread, one at a time. `watch`, `unwatch` and `call_at` may be called there or
while the reactor is not yet running; from elsewhere only `call` and `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import select
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence

from engine.callbacks import call_back
from engine.clock import NS_PER_S, now_ns
from engine.shm.bell import Bell

Callback = Callable[[], None]

THREAD_NAME = "nightscan-client"
MAX_EVENTS = 64
_LONGEST_WAIT_S = 3600.0  # epoll takes no more than some weeks
_READY = "a descriptor or a moment that the client waited for"


class Reactor(ABC):
    """The contract. Holds the watched descriptors, so that another reactor can take them over."""

    def __init__(self) -> None:
        self.watched: dict[int, Callback] = {}

    @abstractmethod
    def watch(self, fd: int, callback: Callback) -> None:
        """Calls `callback` whenever `fd` is readable (level-triggered), until `unwatch`."""

    @abstractmethod
    def unwatch(self, fd: int) -> None:
        """Forgets `fd`; call before closing it. Unknown ones are ignored."""

    @abstractmethod
    def call_at(self, at_ns: int, callback: Callback) -> None:
        """Calls once at the monotonic moment `at_ns`, or never when closed before."""

    @abstractmethod
    def call(self, callback: Callback) -> None:
        """Calls soon in the reactor's thread; from any thread."""

    def soon(self, callback: Callback) -> bool:
        """Calls at the end of this turn of the reactor; False, and no call, where there are no turns to speak of."""
        return False

    def in_turn(self) -> bool:
        """Whether the caller runs within a turn, at whose end `soon` calls."""
        return False

    @abstractmethod
    def in_own_thread(self) -> bool:
        """Whether the caller runs where the callbacks run."""

    @abstractmethod
    def close(self) -> None:
        """Stops calling back and gives back what the reactor itself opened; from any thread, idempotent."""

    @abstractmethod
    def let_go_in_child(self) -> None:
        """In a forked child: there is no thread to stop, and the set of watched descriptors is the parent's."""


class ThreadReactor(Reactor):
    """An epoll loop in a thread of its own, started by `start`."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._wake = Bell.create()
        self._epoll.register(self._wake.fileno(), select.EPOLLIN)
        self._timers: list[tuple[int, int, Callback]] = []
        self._timer_numbers = 0
        self._calls: deque[Callback] = deque()
        self._closing = False
        self._wake_lock = threading.Lock()  # `call` comes from any thread: it must not ring what is closed
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def watch(self, fd: int, callback: Callback) -> None:
        self.watched[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        if self.watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, at_ns: int, callback: Callback) -> None:
        self._timer_numbers += 1
        heapq.heappush(self._timers, (at_ns, self._timer_numbers, callback))

    def call(self, callback: Callback) -> None:
        with self._wake_lock:
            if not self._closing:
                self._calls.append(callback)
                self._wake.ring()

    def in_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def close(self) -> None:
        with self._wake_lock:
            if self._closing:
                return
            self._closing = True
            self._wake.ring()
        if self._thread.is_alive() and not self.in_own_thread():
            self._thread.join()
        self._epoll.close()
        self._wake.close()
        self.watched.clear()

    def let_go_in_child(self) -> None:
        self._closing = True
        self._wake_lock = threading.Lock()
        self._calls.clear()
        self._timers.clear()
        self.watched.clear()
        self._epoll.close()
        self._wake.close()

    def _run(self) -> None:
        while not self._closing:
            self._turn()

    def _turn(self) -> None:
        for fd, _ in self._epoll.poll(self._wait_s(), MAX_EVENTS):
            callback = self.watched.get(fd)  # an earlier callback of this round may have dropped it
            if callback is not None:
                call_back(_READY, callback)
        if self._closing:  # by a callback, and with it what is used below
            return
        self._wake.drain()
        while self._calls and not self._closing:
            call_back(_READY, self._calls.popleft())
        self._fire()

    def _wait_s(self) -> float:
        if not self._timers:
            return -1
        return min(_LONGEST_WAIT_S, max(0.0, (self._timers[0][0] - now_ns()) / NS_PER_S))

    def _fire(self) -> None:
        now = now_ns()
        while self._timers and self._timers[0][0] <= now and not self._closing:
            call_back(_READY, heapq.heappop(self._timers)[2])


class LoopReactor(Reactor):
    """Callbacks in a running asyncio loop. Make, watch and close it in the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self._thread_id = threading.get_ident()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._timer_numbers = itertools.count()
        self._closing = False

    def watch(self, fd: int, callback: Callback) -> None:
        self.watched[fd] = callback
        self.loop.add_reader(fd, callback)  # the loop itself survives what a callback raises, and logs it

    def unwatch(self, fd: int) -> None:
        if self.watched.pop(fd, None) is not None and not self.loop.is_closed():
            self.loop.remove_reader(fd)

    def call_at(self, at_ns: int, callback: Callback) -> None:
        number, delay_s = next(self._timer_numbers), max(0.0, (at_ns - now_ns()) / NS_PER_S)
        # By a number: a callback that knew its own handle would leave a cycle for the garbage collector at each timer.
        self._timers[number] = self.loop.call_later(delay_s, self._fire, number, callback)

    def _fire(self, number: int, callback: Callback) -> None:
        self._timers.pop(number, None)
        callback()

    def call(self, callback: Callback) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be called
            self.loop.call_soon_threadsafe(callback)

    def soon(self, callback: Callback) -> bool:
        if self._closing or threading.get_ident() != self._thread_id or not self.loop.is_running():
            return False
        self.loop.call_soon(callback)
        return True

    def in_turn(self) -> bool:
        return threading.get_ident() == self._thread_id and self.loop.is_running()

    def in_own_thread(self) -> bool:
        return threading.get_ident() == self._thread_id

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self.loop.is_running() or self.in_own_thread():
            self._let_go()
            return
        gone = threading.Event()
        self.loop.call_soon_threadsafe(self._let_go)
        self.loop.call_soon_threadsafe(gone.set)
        gone.wait()

    def let_go_in_child(self) -> None:
        self._closing = True
        self._timers.clear()
        self.watched.clear()

    def _let_go(self) -> None:
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        for fd in list(self.watched):
            self.unwatch(fd)


def wait_readable(fds: Sequence[int], timeout_s: float) -> None:
    """Waits until one of `fds` is readable, at most `timeout_s` seconds: for whoever has no reactor yet, or no more."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll(timeout_s * 1000)
