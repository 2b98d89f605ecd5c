"""Requests that nobody has to wait for in a thread: bounded threads of their own ask, a bounded queue stands before.

Whoever asks gets an `HttpCall` at once, which is over by its deadline whatever the server does: answered, failed, or
expired. A full queue is a refusal at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.errors import DeadlineExceeded, EngineClosed, EngineError, InternalError, PoolExhausted
from engine.stores.http_line import GivenUp, HttpAnswer, HttpLine, HttpQuestion
from engine.stores.ticker import Ticker

MOST_THREADS = 32  # of one process; each may hold an answer of MAX_ANSWER_BYTES
PATIENCE_S = 1.0  # arbitrary: who is asked for less time than this and is late has not shown that the server is slow
MOST_WAITING = 128  # beyond the threads; arbitrary: who came later than that would be late
_IDLE_S = 10.0  # after which a thread without work ends
_JOIN_S = 1.0  # of all threads together, at `close`

Acquire = Callable[[float], AbstractContextManager[HttpLine]]


class HttpCall:
    """One request. It ends once, with the first of: its answer, an error, its deadline, `cancel`."""

    def __init__(self, question: HttpQuestion, deadline: Deadline) -> None:
        self.deadline = deadline
        self.asked_ns = now_ns()
        self._question: HttpQuestion | None = question
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._line: HttpLine | None = None  # while it is asked over one
        self.begun_ns = 0  # when a connection began to ask it; 0: none has
        self._outcome: HttpAnswer | EngineError | None = None
        self._callbacks: list[Callable[[], object]] = []

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    @property
    def was_asked(self) -> bool:
        """Whether there was a connection for it."""
        return self.begun_ns != 0

    @property
    def is_answered(self) -> bool:
        """Whether it has ended with an answer."""
        return isinstance(self._outcome, HttpAnswer)

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Calls back once it has ended: in whichever thread ends it, or here at once."""
        with self._lock:
            if not self.is_done:
                self._callbacks.append(callback)
                return
        callback()

    def result(self) -> HttpAnswer:
        """Waits for its end. Raises StoreUnavailable, DeadlineExceeded, EngineClosed."""
        self._ended.wait()
        assert self._outcome is not None
        if isinstance(self._outcome, EngineError):
            raise self._outcome.with_traceback(None)
        return self._outcome

    def cancel(self) -> None:
        """Nobody wants the answer any more: its connection is given up."""
        self.settle(GivenUp())

    def settle(self, outcome: HttpAnswer | EngineError) -> bool:
        """Whether it ends by this: what comes second is dropped."""
        with self._lock:
            if self.is_done:
                return False
            self._outcome, self._question = outcome, None
            if self._line is not None:
                self._line.cut()  # under the lock: once `ask_over` has let go of it, it may be another call's
            callbacks, self._callbacks = self._callbacks, []
            self._ended.set()
        for callback in callbacks:
            callback()
        return True

    @property
    def asked_for_s(self) -> float:
        """How long it is being asked by now; 0.0 while it waits for a connection."""
        return (now_ns() - self.begun_ns) / NS_PER_S if self.begun_ns else 0.0

    def ask_over(self, line: HttpLine) -> HttpAnswer:
        """Asks in this thread. Raises StoreUnavailable; GivenUp where it had ended before."""
        with self._lock:
            question = self._question
            if question is None:
                raise GivenUp()
            self._line = line
            self.begun_ns = now_ns()
        try:
            return line.ask(question, self.deadline)
        finally:
            with self._lock:
                self._line = None


class HttpCalls:
    """Calls that wait and threads that ask, over connections from `acquire`. For any thread.

    `on_late(since_ns, silent)` is called for a call that was not answered in time, before whoever waits for it is told:
    when it was asked, and how many calls, it among them, the server has been silent to for PATIENCE_S by now.
    """

    def __init__(self, acquire: Acquire, on_late: Callable[[int, int], object]) -> None:
        self._acquire = acquire
        self._on_late = on_late
        self._changed = threading.Condition()  # around all that follows
        self._queue: deque[HttpCall] = deque()
        self._live: set[HttpCall] = set()  # waiting or being asked
        self._threads: set[threading.Thread] = set()
        self._idle_threads = 0
        self._waited_ns = 0
        self._is_closed = False
        self._watch = Ticker(self._expire, name="http-deadlines")

    def ask(self, question: HttpQuestion, deadline: Deadline) -> HttpCall:
        """Begins to ask, and returns. Raises PoolExhausted, EngineClosed."""
        call = HttpCall(question, deadline)
        with self._changed:
            if self._is_closed:
                raise EngineClosed("the pool of connections to the original API is closed")
            if len(self._queue) >= MOST_WAITING:
                self._queue = deque(waiting for waiting in self._queue if not waiting.is_done)
            if len(self._queue) >= MOST_WAITING:
                raise PoolExhausted(f"{MOST_WAITING} requests wait for the original API already")
            self._queue.append(call)
            self._live.add(call)
            if self._idle_threads >= len(self._queue):
                self._changed.notify()
            elif len(self._threads) < MOST_THREADS:
                self._start_thread()
        self._watch.wake()
        return call

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken up yet."""
        return len(self._queue)

    @property
    def waited_s(self) -> float:
        """How long calls have waited for a thread, together."""
        return self._waited_ns / NS_PER_S

    def close(self) -> None:
        """Ends every call with EngineClosed, and the threads. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            live, threads = list(self._live), list(self._threads)
            self._changed.notify_all()
        for call in live:
            call.settle(EngineClosed("the pool of connections to the original API is closed"))
        due = Deadline.after_s(_JOIN_S)
        self._watch.close(due.remaining_s())
        for thread in threads:
            thread.join(due.remaining_s())

    def _expire(self) -> float | None:
        """One look at the deadlines; the seconds until the next is due."""
        with self._changed:
            expired = [call for call in self._live if call.deadline.expired]
            silent = sum(call.asked_for_s >= PATIENCE_S for call in self._live)
            self._live.difference_update(expired)
            left_s = min((call.deadline.remaining_s() for call in self._live), default=None)
        for call in expired:
            if call.asked_for_s >= PATIENCE_S:
                self._on_late(call.begun_ns, silent)
        for call in expired:
            call.settle(_late())
        return left_s

    def _start_thread(self) -> None:
        """The caller holds the lock."""
        thread = threading.Thread(target=self._work, name="http-call", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        try:
            while (call := self._next()) is not None:
                self._answer(call)
                del call  # a thread that waits would keep its last upload
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())

    def _next(self) -> HttpCall | None:
        with self._changed:
            self._idle_threads += 1
            self._changed.wait_for(lambda: self._queue or self._is_closed, _IDLE_S)
            self._idle_threads -= 1
            if not self._queue:
                return None
            call = self._queue.popleft()
            self._waited_ns += now_ns() - call.asked_ns
            return call

    def _answer(self, call: HttpCall) -> None:
        outcome: HttpAnswer | EngineError = InternalError("asking the original API ended without an outcome")
        try:
            if not call.is_done:
                with self._acquire(call.deadline.remaining_s()) as line:
                    outcome = call.ask_over(line)
        except GivenUp:  # it has ended already, or the thread that asks has met its deadline before the watch has
            outcome = _late()
            self._expire()
        except EngineError as error:
            outcome = error.with_traceback(None)  # it leads to this frame, and that to the call that keeps it
        finally:
            call.settle(outcome)
            with self._changed:
                self._live.discard(call)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the original API did not answer in time")
