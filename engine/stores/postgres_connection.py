"""A Postgres connection whose every use ends in time, and the book of those that a pool has open.

Imports psycopg: only for processes in which a Postgres is configured.
"""

from __future__ import annotations

import os
import select
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from engine.clock import LAST_NS, Deadline, now_ns
from engine.errors import PoolExhausted, StoreUnavailable

# A server needs a moment to end the process of a connection that was closed; until then it counts as one of ours.
GRACE_NS = 200_000_000

Result = TypeVar("Result")


class ConnectionBook:
    """What one pool has open, and whether it may open more. For any thread.

    Equation: connections open, being opened, and closed less than GRACE_NS ago <= max_connections.
    """

    def __init__(self, max_connections: int, *, when_failed: Callable[[psycopg.Error], object]) -> None:
        """`when_failed` is called for every attempt that the server failed, without the lock."""
        self._max_connections = max_connections
        self._when_failed = when_failed
        self._lock = threading.Lock()  # held for a few steps, never while anything waits
        self._open: set[BoundedConnection] = set()
        self._opening = 0
        self._closed_at_ns: deque[int] = deque()
        self.opened = 0
        self.lost = 0
        self.errors = 0  # attempts to connect that failed; uses that failed are the pool's

    @property
    def count(self) -> int:
        """Connections that are open, as far as is known."""
        return len(self._open)

    def begin(self) -> None:
        """Takes a place for a new connection. Raises PoolExhausted where there is none just now."""
        with self._lock:
            gone = [each for each in self._open if each.closed]
            self._open.difference_update(gone)  # the server ended them, and nobody has used them since
            self.lost += len(gone)
            while self._closed_at_ns and self._closed_at_ns[0] + GRACE_NS < now_ns():
                self._closed_at_ns.popleft()
            taken = len(self._open) + self._opening + len(self._closed_at_ns)
            if taken >= self._max_connections:
                raise PoolExhausted(f"{taken} of {self._max_connections} connections to Postgres are taken")
            self._opening += 1

    def succeeded(self, connection: BoundedConnection) -> None:
        """This is what became of the attempt that `begin` let through."""
        with self._lock:
            self._opening -= 1
            self.opened += 1
            self._open.add(connection)

    def failed(self, error: psycopg.Error) -> None:
        """Nothing became of it."""
        with self._lock:
            self._opening -= 1
            self.errors += 1
        self._when_failed(error)

    def closed(self, connection: BoundedConnection, *, is_lost: bool, by_us: bool) -> None:
        """It was open and is not any more; said again, changes nothing."""
        with self._lock:
            if connection in self._open:
                self._open.remove(connection)
                self.lost += is_lost
                if by_us:
                    self._closed_at_ns.append(now_ns())

    def doom(self) -> None:
        """Has every use of a connection that there is now end with StoreUnavailable, within a tenth of a second."""
        with self._lock:
            for connection in self._open:
                connection.is_doomed = True

    def let_go_in_child(self) -> None:
        """Closes the child's copies of the sockets; psycopg says nothing to a server from another process."""
        for connection in self._open:
            try:
                os.close(connection.pgconn.socket)
            except (OSError, psycopg.Error):  # it is closed already
                continue


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """Commits each statement of itself. Whoever waits for the server waits until `deadline`, and then it is closed.

    The limit is kept on this side, because a server that is frozen heeds none of its own.
    """

    book: ConnectionBook  # of its pool
    deadline = Deadline(LAST_NS)  # its pool sets it at every use
    is_doomed = False  # True: nobody expects an answer any more

    @classmethod
    def connect(  # type: ignore[override]  # it is called by a pool of ours alone
        cls, conninfo: str = "", *, book: ConnectionBook, **parameters: Any
    ) -> BoundedConnection:
        """Raises PoolExhausted when the book has no place for it, psycopg.Error when the server has none."""
        book.begin()
        try:
            connection = super().connect(conninfo, autocommit=True, prepare_threshold=None, **parameters)
        except psycopg.Error as error:
            _let_go(error)
            book.failed(error)
            raise
        connection.book = book
        book.succeeded(connection)
        return connection

    def wait(self, gen: PQGen[Result], *args: Any, **kwargs: Any) -> Result:
        """As psycopg's, which wakes at least every 0.1 s. Raises StoreUnavailable once the deadline is over."""
        try:
            return super().wait(self._bounded(gen), *args, **kwargs)
        except StoreUnavailable:
            self.lose()
            raise

    def close(self) -> None:
        """In order: the server is told. What it had closed before is lost."""
        self._close(is_lost=self.closed or self._has_ended())

    def lose(self) -> None:
        """Closes what does not answer, or has broken."""
        self._close(is_lost=True)

    def _close(self, *, is_lost: bool) -> None:
        by_us = not self.closed
        super().close()
        self.book.closed(self, is_lost=is_lost, by_us=by_us)

    def _has_ended(self) -> bool:
        """Whether a server that was asked nothing has said something: that it ends the connection."""
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return self.info.transaction_status == TransactionStatus.IDLE and bool(poll.poll(0))

    def _bounded(self, steps: PQGen[Result]) -> Generator[Any, Any, Result]:
        try:
            state = next(steps)
            while True:
                ready = yield state
                self._check_time()
                state = steps.send(ready)
        except StopIteration as done:
            result: Result = done.value
            return result

    def _check_time(self) -> None:
        if self.is_doomed:
            raise StoreUnavailable("Postgres does not answer")
        if self.deadline.expired:
            raise StoreUnavailable("Postgres did not answer in time")


def _let_go(error: psycopg.Error) -> None:
    """Closes the socket of an attempt that ended by its time: psycopg keeps it in a circle of frames and errors.

    Until the collector came a server that thaws would take each for somebody who is about to log in, for a minute.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__context__
