"""The connections of this process to one Redis server: who has which, and how many there may be.

Lends open connections alone: `NodeKeeper` opens, probes and closes them in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.core.breaker import Breaker, BreakerState
from engine.errors import EngineClosed, InheritedByFork, PoolExhausted, StoreUnavailable
from engine.shm.forked import not_for_children
from engine.stores.pool import PoolStatistics
from engine.stores.redis_address import RedisNode
from engine.stores.redis_words import Link


class NodePool:
    """Thread-safe by one lock, held for list work only. In a forked child each use raises InheritedByFork.

    Equation: open = idle + lent + late + in the keeper's hands; it grows only while it is below `limit`.
    """

    def __init__(self, node: RedisNode, *, minimum: int) -> None:
        self.node = node
        self.trouble = ""  # why it cannot be used, or what was last refused; "" when all is well
        self._minimum = minimum
        self._lock = threading.Lock()
        self._given_back = threading.Condition(self._lock)
        self.wanted = threading.Event()  # there is something for the keeper to do
        self._breaker = Breaker()
        self._limit = 0
        self._demand = 0  # connections that callers could have used at once
        self._idle: list[Link] = []  # the last one was used last
        self._late: list[Link] = []  # their answers did not come in time, and may still
        self._lent: set[Link] = set()
        self._kept = 0  # being opened, probed or closed by the keeper
        self._waiting = self._opened = self._lost = self._errors = self._wait_ns = 0
        self._closed = self._inherited = False
        not_for_children(self)

    # --- for those who ask the server -------------------------------------------------------------------------------

    @contextmanager
    def acquire(self, timeout_s: float) -> Iterator[Link]:
        """An open connection for the block. What state it comes back in says whether the server kept its time.

        Raises PoolExhausted after `timeout_s`; StoreUnavailable at once while the breaker is open or nothing may be
        open; EngineClosed; InheritedByFork.
        """
        link = self._take(Deadline.after_s(timeout_s))
        try:
            yield link
        finally:
            self._give_back(link)

    @property
    def usable(self) -> bool:
        """Whether it is worth asking: a look without a lock, out of date at once."""
        return self.closed_breaker and bool(self._idle or self._lent)

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether a connection is open and the server answers, waiting for it up to `timeout_s`."""
        if self._inherited:
            raise InheritedByFork()
        with self._given_back:
            self._check()
            return self._given_back.wait_for(lambda: self.usable, timeout_s)

    def _check(self) -> None:
        if self._inherited:
            raise InheritedByFork()
        if self._closed:
            raise EngineClosed("the pool is closed")

    def _take(self, deadline: Deadline) -> Link:
        if self._inherited:  # before the lock, which may be held for ever in a forked child
            raise InheritedByFork()
        began_ns = now_ns()
        with self._given_back:
            self._waiting += 1
            try:
                while True:
                    self._check()
                    if self._breaker.state is not BreakerState.CLOSED or not self._limit:
                        raise StoreUnavailable(f"{self.node}: {self.trouble or 'no connection'}")
                    if self._idle:
                        self._demand = max(self._demand, len(self._lent) + 1)
                        link = self._idle.pop()
                        self._lent.add(link)
                        return link
                    self._want_more()
                    if not self._given_back.wait(deadline.remaining_s()):
                        raise PoolExhausted(f"{self.node}: no connection is free")
            finally:
                self._waiting -= 1
                self._wait_ns += now_ns() - began_ns

    def _want_more(self) -> None:
        """Caller holds the lock."""
        self._demand = max(self._demand, len(self._lent) + self._waiting)
        if self._open() < self._limit:
            self.wanted.set()

    def _give_back(self, link: Link) -> None:
        if self._inherited:
            return
        with self._lock:
            self._lent.discard(link)
            self._put(link)
            if link.broken or link.owed:
                self._failed(f"{self.node}: {'no answer in time' if link.owed else 'the connection broke'}")
            else:
                self._breaker.succeeded()
                self.trouble = ""

    # --- for the keeper: it alone calls these -----------------------------------------------------------------------

    def set_limit(self, limit: int) -> int:
        """From now on no more than `limit` are opened. How many there are that the server may count."""
        with self._lock:
            self._limit = 0 if self._closed else limit
            if self._open() > limit or self._open() < self._goal():
                self.wanted.set()
            if not self._limit:
                self._given_back.notify_all()  # those who wait would wait in vain
            return self._open()

    def _open(self) -> int:
        """Caller holds the lock."""
        return len(self._idle) + len(self._lent) + len(self._late) + self._kept

    def _goal(self) -> int:
        """Caller holds the lock."""
        return min(self._limit, max(self._minimum, self._demand))

    def take_idle(self) -> Link | None:
        """The connection that was idle for longest, into the keeper's hands."""
        with self._lock:
            return self._take_from(self._idle)

    def take_surplus(self) -> Link | None:
        """One that is to be closed because there are too many, into the keeper's hands."""
        with self._lock:
            if self._open() - self._kept <= self._limit:
                return None
            return self._take_from(self._idle or self._late)

    def _take_from(self, pile: list[Link]) -> Link | None:
        """Caller holds the lock."""
        self._kept += bool(pile)
        return pile.pop(0) if pile else None

    def take_late(self) -> list[Link]:
        """All whose answers are late, into the keeper's hands."""
        with self._lock:
            taken, self._late = self._late, []
            self._kept += len(taken)
            return taken

    def begin_opening(self) -> bool:
        """Whether another is to be opened; if so it counts from now on."""
        with self._lock:
            wanted = not self._closed and self._open() < self._goal()
            self._kept += wanted
            return wanted

    def opened(self) -> None:
        """One more was opened; the keeper has it in its hands."""
        with self._lock:
            self._opened += 1

    def keep(self, link: Link | None) -> None:
        """What the keeper took or opened comes back; None, or a broken one: it is no more."""
        with self._lock:
            self._kept -= 1
            if link is not None:
                self._put(link, by_keeper=True)
            self._given_back.notify_all()

    def _put(self, link: Link, *, by_keeper: bool = False) -> None:
        """Caller holds the lock. What the keeper itself found late still it looks at again in its own time."""
        if link.broken:
            self._lost += 1
            self.wanted.set()
        elif self._closed:
            link.close()
        elif link.owed:
            self._late.append(link)
            if not by_keeper:
                self.wanted.set()
        else:
            self._idle.append(link)
            if self._open() > self._limit:
                self.wanted.set()
            self._given_back.notify()

    @property
    def closed_breaker(self) -> bool:
        """Whether those who ask the server are let through: out of date at once."""
        return self._breaker.state is BreakerState.CLOSED

    def may_try(self) -> bool:
        """Whether to ask a server that failed; what came of it must be said by one of the next three."""
        with self._lock:
            return self._breaker.may_try(now_ns())

    def nothing_to_try(self) -> None:
        """No connection to ask it on, and none may be opened; where some are late, that is its failure."""
        with self._lock:
            if self._late:
                self._breaker.failed(now_ns())
            else:
                self._breaker.abandoned(now_ns())

    def server_answered(self) -> None:
        """As it should, and in time."""
        with self._lock:
            self._breaker.succeeded()
            self.trouble = ""
            self._given_back.notify_all()

    def server_failed(self, why: str) -> None:
        """It did not."""
        with self._lock:
            self._failed(why)
            self._given_back.notify_all()  # those who wait need wait no longer

    def _failed(self, why: str) -> None:
        """Caller holds the lock."""
        self._errors += 1
        self._breaker.failed(now_ns())
        self.trouble = why
        self.wanted.set()

    # --- seen, and its end ------------------------------------------------------------------------------------------

    def statistics(self) -> PoolStatistics:
        """As of now; a late connection counts as in use."""
        if self._inherited:
            raise InheritedByFork()
        with self._lock:
            return PoolStatistics(
                in_use=len(self._lent) + len(self._late) + self._kept,
                idle=len(self._idle),
                waiting=self._waiting,
                opened=self._opened,
                lost=self._lost,
                errors=self._errors,
                wait_s=self._wait_ns / NS_PER_S,
                breaker=self._breaker.state,
                max_connections=max(self._limit, self._open()),  # what was lent and is taken back counts until it is
            )

    def close(self) -> None:
        """Closes what is not lent, at once, and the rest as it comes back. Idempotent."""
        if self._inherited:
            return
        with self._lock:
            self._closed = True
            self._limit = 0
            taken, self._idle, self._late = [*self._idle, *self._late], [], []
            self._given_back.notify_all()
        self.wanted.set()
        for link in taken:
            link.close()

    def let_go_in_child(self) -> None:
        """The connections are the parent's, and let go of themselves; the lock may be held for ever here."""
        self._inherited = True
