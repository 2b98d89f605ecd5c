"""Connections of one process to the original API: as many as it has been lent, opened when somebody asks.

It does by itself what urllib3's pool does with `block=True`, because that one's bound is fixed when it is made, and
ours is lent by the supervisor and changes: a share that shrinks closes connections first and says so after.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.core.breaker import Breaker
from engine.errors import EngineClosed, InheritedByFork, PoolExhausted, StoreUnavailable
from engine.shm.forked import not_for_children
from engine.shm.process_row import ProcessRow
from engine.stores.http_calls import HttpCall, HttpCalls
from engine.stores.http_line import HttpLine, HttpOrigin, HttpQuestion
from engine.stores.pool import PoolStatistics
from engine.stores.pool_report import PoolReport
from engine.stores.ticker import Ticker

POOL = "http"  # in the row of the process
TICK_S = 0.05  # between two looks at what has been lent
IDLE_S = 30.0  # after which an idle connection is closed; arbitrary
_CLOSE_S = 1.0

_LOG = logging.getLogger(__name__)


class HttpPool:
    """A `ConnectionPool[HttpLine]`, and `ask` for those who must not wait in a thread.

    How many connections it may have is `row.share(POOL)`, looked at every TICK_S; there too it shows what it does. One
    lock, around lists and numbers only: connecting, asking and closing happen outside.
    """

    def __init__(self, url: str, row: ProcessRow, *, connect_timeout_s: float) -> None:
        """Raises ConfigError for a URL that is none."""
        self._origin = HttpOrigin.of(url)
        self._connect_timeout_s = connect_timeout_s
        self._row = row
        self._report = PoolReport(row, POOL)  # of the pool's own thread, and of `close` after it
        self._changed = threading.Condition()  # around all that follows
        self._limit = 0  # the share that was seen last; only `_maintain` changes it
        self._idle: list[HttpLine] = []  # the one used last at the end
        self._in_use = 0
        self._waiting = 0
        self._waited_ns = 0
        self._opened = self._lost = self._errors = 0
        self._breaker = Breaker()
        self._answered_ns = 0  # when the server has answered last
        self._is_closed = self._is_inherited = False
        self._ticker = Ticker(self._maintain, name="http-pool")
        self._calls = HttpCalls(self.acquire, self._late)
        not_for_children(self)

    # --- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Nothing is connected before somebody asks: the original API is needed while the engine is away."""
        self._ticker.wake()

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether the original API accepts a connection."""
        deadline = Deadline.after_s(timeout_s)
        try:
            with self.acquire(timeout_s) as line:
                line.connect(deadline)
        except StoreUnavailable:
            return False
        return True

    def close(self) -> None:
        """See `ConnectionPool`; whoever waits gets EngineClosed."""
        if self._is_inherited:
            return
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        self._calls.close()
        self._ticker.close(_CLOSE_S)
        for line in idle:
            line.close()
        self._row.hold(POOL, self._in_use)
        self._report.show(self.statistics())
        self._report.end()

    def let_go_in_child(self) -> None:
        """In a forked child: the parent's connections would mix up two processes' answers."""
        self._is_inherited = self._is_closed = True
        self._changed = threading.Condition()
        for line in self._idle:
            line.close()

    # --- use --------------------------------------------------------------------------------------------------------

    def ask(self, question: HttpQuestion, deadline: Deadline) -> HttpCall:
        """Begins to ask, and returns. Raises PoolExhausted where too many wait already, StoreUnavailable while the
        breaker is open, EngineClosed, InheritedByFork.
        """
        with self._changed:
            self._check_usable()
        return self._calls.ask(question, deadline)

    @contextmanager
    def acquire(self, timeout_s: float) -> Iterator[HttpLine]:
        """See `ConnectionPool`."""
        line = self._take(Deadline.after_s(timeout_s))
        try:
            yield line
        finally:
            self._give_back(line)

    def statistics(self) -> PoolStatistics:
        """As of now."""
        with self._changed:
            return PoolStatistics(
                in_use=self._in_use,
                idle=len(self._idle),
                waiting=self._waiting + self._calls.waiting,
                opened=self._opened,
                lost=self._lost,
                errors=self._errors,
                wait_s=self._waited_ns / NS_PER_S + self._calls.waited_s,
                breaker=self._breaker.state,
                max_connections=self._limit,
            )

    # --- inside: the caller holds the lock, unless it says otherwise ------------------------------------------------

    def _take(self, deadline: Deadline) -> HttpLine:
        """Takes the lock. A line nobody else has, connected or not."""
        begun_ns = now_ns()
        with self._changed:
            self._waiting += 1
            try:
                while not self._may_take():
                    if deadline.expired:
                        raise PoolExhausted(f"no connection to the original API was free, of {self._limit}")
                    self._changed.wait(deadline.remaining_s())
                self._in_use += 1
                line = self._idle.pop() if self._idle else HttpLine(self._origin, self._connect_timeout_s)
                line.answered = None
                return line
            finally:
                self._waiting -= 1
                self._waited_ns += now_ns() - begun_ns

    def _may_take(self) -> bool:
        """Raises StoreUnavailable while the breaker is open, to those who have waited for a connection as well."""
        self._check_usable()
        return self._in_use < self._limit and self._breaker.may_try(now_ns())

    def _check_usable(self) -> None:
        if self._is_inherited:
            raise InheritedByFork("this pool of connections to the original API is the parent process's")
        if self._is_closed:
            raise EngineClosed("the pool of connections to the original API is closed")
        if self._breaker.refuses(now_ns()):
            raise StoreUnavailable("the original API has not answered lately, and is left alone for a moment")

    def _give_back(self, line: HttpLine) -> None:
        """Takes the lock."""
        is_kept = line.is_connected and not line.is_cut
        with self._changed:
            self._in_use -= 1
            self._judge(line)
            is_kept = is_kept and not self._is_closed and self._in_use + len(self._idle) < self._limit
            if is_kept:
                line.idle_since_ns = now_ns()
                self._idle.append(line)
            self._changed.notify_all()
        if not is_kept:
            line.close()

    def _judge(self, line: HttpLine) -> None:
        self._opened += line.opened
        self._lost += line.lost
        self._errors += line.errors
        line.opened = line.lost = line.errors = 0
        if line.answered is None:
            self._breaker.abandoned(now_ns())
        else:
            self._record(line.answered)

    def _late(self, since_ns: int, silent: int) -> None:
        """Takes the lock. One late answer is no outage; so many at once are, where nobody had any in the meantime: who
        comes next would else wait as long, and in a server of few threads all others behind them.
        """
        with self._changed:
            for _ in range(1 if self._answered_ns >= since_ns else silent):
                self._record(False)
            self._changed.notify_all()

    def _record(self, answered: bool) -> None:
        before = self._breaker.state
        if answered:
            self._answered_ns = now_ns()
            self._breaker.succeeded()
        else:
            self._breaker.failed(now_ns())
        if self._breaker.state is not before:
            _LOG.warning("original API at %s: circuit %s", self._origin.host, self._breaker.state.name.lower())

    def _maintain(self) -> float:
        """One turn of the pool's own thread; takes the lock."""
        with self._changed:
            allowed = self._row.share(POOL)
            oldest_ns = now_ns() - int(IDLE_S * NS_PER_S)
            surplus = self._in_use + len(self._idle) - allowed
            expired = sum(line.idle_since_ns < oldest_ns for line in self._idle)
            ends = max(0, surplus, expired)  # the one used last is at the end
            closing, self._idle = self._idle[:ends], self._idle[ends:]
            if allowed > self._limit:
                self._changed.notify_all()
            self._limit = allowed
        for line in closing:
            line.close()
        with self._changed:  # only now: what is told must be true of what the server has
            self._row.hold(POOL, max(self._limit, self._in_use + len(self._idle)))
        self._report.show(self.statistics())
        return TICK_S
