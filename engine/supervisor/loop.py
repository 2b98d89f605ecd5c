"""The one loop of a supervisor or keeper: descriptors, moments, signals.

Signal handlers only leave a byte in a socket; everything else happens here, one call after another, in one thread. So
nothing that a handler of this loop touches needs a lock, and no handler may wait. Other threads have one way in:
`call_soon_threadsafe`.

An exception never leaves the loop: the handler that raised it is called again after a pause, until it returns. So a
handler must be written to be repeated from its beginning, wherever it stopped.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import selectors
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.clock import NS_PER_S, now_ns
from engine.supervisor.guard import Guard

_NO_SIGNAL = b"\0"  # in the socket that signals leave their number in

Handler = Callable[[], object]
_Watched = tuple[Handler | None, Handler | None]  # one of them at least


@dataclass(order=True)
class Timer:
    """One call in the future."""

    at_ns: int
    order: int
    handler: Handler | None = field(compare=False)

    def cancel(self) -> None:
        """The call will not happen. Idempotent, harmless afterwards."""
        self.handler = None


class Loop:
    """Runs handlers until `stop`."""

    def __init__(self) -> None:
        self.guard = Guard()
        self._selector = selectors.DefaultSelector()
        self._handlers: dict[int, _Watched] = {}
        self._paused: dict[int, Timer] = {}  # descriptors whose handler failed, with its next call
        self._timers: list[Timer] = []
        self._again: dict[Handler, Timer] = {}  # handlers that failed, with their next call
        self._orders = itertools.count()
        self._running = False
        self._signals: dict[int, Handler] = {}
        self._previous: dict[int, object] = {}
        self._calls: deque[Handler] = deque()  # of other threads
        self._wake_lock = threading.Lock()  # around waking, which must not meet a socket that is closed
        self._closed = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self.watch(self._wake_reader.fileno(), self._handle_wake)

    # --- what to wait for -------------------------------------------------------------------------------------------

    def watch(self, fd: int, on_readable: Handler | None, on_writable: Handler | None = None) -> None:
        """Calls `on_readable`, if given, whenever `fd` is readable, and `on_writable` whenever it is writable.

        A second call for the same descriptor replaces the first.
        """
        watched = (on_readable, on_writable)
        if fd in self._paused:
            pass  # its handler failed and would be called without end; the timer watches it again
        elif fd in self._handlers:
            self._selector.modify(fd, _events(watched))
        else:
            self._selector.register(fd, _events(watched))
        self._handlers[fd] = watched

    def unwatch(self, fd: int) -> None:
        """Before the descriptor is closed. Idempotent."""
        if self._handlers.pop(fd, None) is None:
            return
        paused = self._paused.pop(fd, None)
        if paused is not None:
            paused.cancel()
            self.guard.over(("fd", fd))
        else:
            self._selector.unregister(fd)

    def call_after(self, delay_s: float, handler: Handler) -> Timer:
        """Calls `handler` once, `delay_s` seconds from now."""
        timer = Timer(now_ns() + int(delay_s * NS_PER_S), next(self._orders), handler)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon_threadsafe(self, handler: Handler) -> bool:
        """From any thread: `handler` is called in the loop, as `attempt` does. False once the loop is closed: never."""
        with self._wake_lock:
            if self._closed:
                return False
            self._calls.append(handler)  # before the byte: whoever reads that finds it
            with contextlib.suppress(BlockingIOError):  # full of bytes that are still to be read
                self._wake_writer.send(_NO_SIGNAL)
        return True

    def attempt(self, handler: Handler) -> None:
        """Calls `handler` now, and again later should it fail: for steps of which none may hinder the next one.

        One that is being tried again already is tried now, and not twice later.
        """
        timer = self._again.get(handler)
        if timer is None:
            self._fire(Timer(now_ns(), next(self._orders), handler))
        elif self.guard.run(timer.order, handler) is None:
            self._again.pop(handler, None)  # it may have had itself called
            timer.cancel()

    def on_signal(self, signum: signal.Signals, handler: Handler) -> None:
        """Calls `handler` in the loop for every burst of `signum`. For the main thread only."""
        if not self._signals:
            signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        self._signals[signum] = handler
        self._previous[signum] = signal.signal(signum, _ignore)

    # --- running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Returns after `stop`."""
        self._running = True
        while self._running:
            pause_s = self.guard.run(self, self.run_once)
            if pause_s is not None:
                select.poll().poll(pause_s * 1000)

    def stop(self) -> None:
        """Ends `run` once the current handler has returned."""
        self._running = False

    def run_once(self, at_most_s: float | None = None) -> None:
        """Waits for the next event, for at most `at_most_s`, and handles all there are."""
        for key, mask in self._selector.select(self._patience_s(at_most_s)):
            self._handle_descriptor(key.fd, mask)
        self._handle_timers()

    def close(self) -> None:
        """Gives signals back and closes what the loop itself opened."""
        if self._signals:
            signal.set_wakeup_fd(-1)
        for signum, previous in self._previous.items():
            signal.signal(signum, previous)  # type: ignore[arg-type]  # it came out of signal.signal
        self._selector.close()
        with self._wake_lock:
            self._closed = True
            self._wake_reader.close()
            self._wake_writer.close()

    def _patience_s(self, at_most_s: float | None) -> float | None:
        while self._timers and self._timers[0].handler is None:
            self.guard.over(heapq.heappop(self._timers).order)
        if not self._timers:
            return at_most_s
        until_timer_s = max(0.0, (self._timers[0].at_ns - now_ns()) / NS_PER_S)
        return until_timer_s if at_most_s is None else min(until_timer_s, at_most_s)

    def _handle_descriptor(self, fd: int, mask: int) -> None:
        # Looked up again for each half: an earlier handler of this round may have stopped watching.
        for event, which in ((selectors.EVENT_READ, 0), (selectors.EVENT_WRITE, 1)):
            handler = self._handlers.get(fd, (None, None))[which]
            if mask & event and handler is not None and fd not in self._paused:
                self._call(fd, handler)

    def _call(self, fd: int, handler: Handler) -> bool:
        """Whether it returned; if not, it is called again later and nothing else is asked of `fd` until then."""
        pause_s = self.guard.run(("fd", fd), handler)
        if pause_s is None:
            return True
        if fd not in self._handlers:
            self.guard.over(("fd", fd))  # it stopped watching before it failed: there is nothing to repeat
            return False
        if fd not in self._paused:
            self._selector.unregister(fd)  # it is still readable, and would be without end
        self._paused[fd] = self.call_after(pause_s, lambda: self._resume(fd, handler))
        return False

    def _resume(self, fd: int, handler: Handler) -> None:
        """Calls the handler whatever the descriptor says: what it failed at may have been read already."""
        if self._call(fd, handler) and fd in self._paused:
            self._selector.register(fd, _events(self._handlers[fd]))
            del self._paused[fd]  # not before: should that fail, for want of memory, nobody else would do it

    def _handle_timers(self) -> None:
        now = now_ns()
        while self._timers and self._timers[0].at_ns <= now:
            self._fire(heapq.heappop(self._timers))

    def _fire(self, timer: Timer) -> None:
        handler = timer.handler
        if handler is None:
            self.guard.over(timer.order)
            return
        pause_s = self.guard.run(timer.order, handler)
        if pause_s is None:
            self._again.pop(handler, None)
        elif timer.handler is not None:
            self._again[handler] = timer
            timer.at_ns = now_ns() + int(pause_s * NS_PER_S)
            heapq.heappush(self._timers, timer)
        else:
            self.guard.over(timer.order)

    def _handle_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for signum in set(self._wake_reader.recv(4096)):
                if signum in self._signals:
                    self.attempt(self._signals[signum])
        for _ in range(len(self._calls)):  # those that come meanwhile have left a byte of their own
            self.attempt(self._calls.popleft())


def _events(watched: _Watched) -> int:
    on_readable, on_writable = watched
    return (selectors.EVENT_READ if on_readable else 0) | (selectors.EVENT_WRITE if on_writable else 0)


def _ignore(signum: int, frame: object) -> None:
    """The byte that the wake-up descriptor received is all there is to do."""
