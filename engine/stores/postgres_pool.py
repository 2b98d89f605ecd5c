"""Connections to Postgres: psycopg_pool's, with limits that hold against a server that is frozen, and a probe.

psycopg_pool alone takes ten seconds over five connections that a restart has made stale, and tries to connect in pauses
that grow to minutes. So: every use has a deadline of ours; one that breaks has all idle connections made anew; and a
thread asks the server every second, keeps the minimum, and alone decides when it is back.

Nothing is left in a session, no prepared statement and no SET outside a transaction: a proxy that pools transactions
may stand in between.

Imports psycopg: only for processes in which a Postgres is configured.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg_pool

from engine.clock import NS_PER_S, Deadline, now_ns
from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.errors import (
    EngineClosed,
    EngineError,
    InheritedByFork,
    LoginRefused,
    PoolExhausted,
    StoreAway,
    StoreUnavailable,
)
from engine.shm.forked import not_for_children
from engine.stores.pool import PoolStatistics
from engine.stores.postgres_address import connection_parameters, shown_place
from engine.stores.postgres_connection import BoundedConnection, ConnectionBook
from engine.stores.reachability import Reachability, one_line

PROBE_EVERY_S = 1.0
RETRY_EVERY_S = 0.25  # how often an open breaker is asked whether its pause is over
PROBE_S = 2.0
RECONNECT_S = 1.0
_LOOK_S = 0.1  # whoever waits for a connection sees that often that there will be none
_LEAVE_S = 1.0
# libpq has no code for what a server says to who is not in yet. Of one that speaks another language it is an outage.
_LOGIN_TEXTS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted to log in")


class PostgresPool:
    """A `ConnectionPool` of Postgres, of this process. Made and opened after the fork; any thread may use it."""

    def __init__(
        self,
        address: str,
        *,
        min_connections: int,
        max_connections: int,
        connection_timeout_s: float,
        command_timeout_s: float,
    ) -> None:
        """Raises ConfigError for an address that is none."""
        parameters = connection_parameters(address)
        self.command_timeout_s = command_timeout_s
        self._connection_timeout_s = connection_timeout_s
        self._min_connections = min_connections
        self._max_connections = max_connections
        self._book = ConnectionBook(max_connections, when_failed=self._connecting_failed)
        self._server = Reachability(f"Postgres ({shown_place(parameters)})", when_away=self._book.doom)
        self._parameters: dict[str, Any] = {"book": self._book, **parameters}
        self._pid = 0  # 0: not open yet
        self._is_inherited = False
        self._lock = threading.Lock()  # over the four below it; held for one step
        self._in_use = 0
        self._waiting = 0
        self._errors = 0  # uses that failed
        self._waited_ns = 0
        self._leaving = threading.Event()
        self._probe = threading.Thread(target=self._keep, name="postgres-probe", daemon=True)
        self._pool = psycopg_pool.ConnectionPool(
            connection_class=BoundedConnection,
            kwargs=self._parameters,
            min_size=0,  # the probe has it grow once the server has answered: until then one attempt tells enough
            max_size=max_connections,
            open=False,
            name="postgres",
            reconnect_timeout=RECONNECT_S,
        )

    @classmethod
    def of(cls, settings: Settings) -> PostgresPool:
        """The pool that the settings describe. Raises ConfigError."""
        return cls(
            settings.database_url,
            min_connections=settings.db_min_connections,
            max_connections=settings.db_max_connections,
            connection_timeout_s=settings.db_connection_timeout,
            command_timeout_s=settings.db_command_timeout,
        )

    # --- the contract -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """See `ConnectionPool`."""
        # They say every second that a server is away; `Reachability` says it once.
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)
        self._pid = os.getpid()
        not_for_children(self)
        self._pool.open(wait=False)
        self._probe.start()

    def check(self) -> None:
        """Raises what `acquire` would raise at once."""
        self._check_ours()
        self._check_server()

    def wait_ready(self, timeout_s: float) -> bool:
        """See `ConnectionPool`."""
        self._check_ours()
        return self._server.wait(timeout_s)

    @contextmanager
    def acquire(
        self, timeout_s: float | None = None, *, command_timeout_s: float | None = None
    ) -> Iterator[BoundedConnection]:
        """See `ConnectionPool`; both limits are by default those of the settings.

        The block as a whole has `command_timeout_s`: then its connection is closed and StoreUnavailable raised. So it
        is for any connection that breaks; other errors of psycopg pass through.
        """
        self.check()
        timeout_s = self._connection_timeout_s if timeout_s is None else timeout_s
        command_timeout_s = self.command_timeout_s if command_timeout_s is None else command_timeout_s
        connection = self._wait_for_connection(timeout_s)
        connection.deadline = Deadline.after_s(command_timeout_s)
        with self._using(connection):
            yield connection

    def close(self) -> None:
        """See `ConnectionPool`."""
        if self._pid != os.getpid() or self._leaving.is_set():
            return
        self._leaving.set()
        self._book.doom()
        self._probe.join(_LEAVE_S)
        self._pool.close(timeout=_LEAVE_S)

    def statistics(self) -> PoolStatistics:
        """See `ConnectionPool`."""
        seen = self._pool.get_stats()
        with self._lock:
            return PoolStatistics(
                in_use=self._in_use,
                idle=min(seen["pool_available"], self._max_connections - self._in_use),
                waiting=self._waiting,
                opened=self._book.opened,
                lost=self._book.lost,
                errors=self._book.errors + self._errors,
                wait_s=self._waited_ns / NS_PER_S,
                breaker=self._server.state,
                max_connections=self._max_connections,
            )

    @property
    def trouble(self) -> str:
        """Why the server cannot be used just now, for people; "" while it can, or before anything is known."""
        return self._server.trouble

    def let_go_in_child(self) -> None:
        """See `Heirloom`."""
        self._is_inherited = True
        self._book.let_go_in_child()
        self._pool._closed = True  # else its finaliser waits for locks that a thread of the parent may have held

    # --- one use ----------------------------------------------------------------------------------------------------

    def _check_ours(self) -> None:
        if self._is_inherited or self._pid not in (0, os.getpid()):
            raise InheritedByFork("these connections to Postgres belong to the process that this one was forked from")
        if self._pid == 0 or self._leaving.is_set():
            raise EngineClosed("the pool of connections to Postgres is not open")

    def _check_server(self) -> None:
        if self._server.state is not BreakerState.CLOSED:
            trouble = self._server.trouble
            kind = LoginRefused if any(text in trouble for text in _LOGIN_TEXTS) else StoreAway
            raise kind(f"Postgres: {trouble}")

    def _wait_for_connection(self, timeout_s: float) -> BoundedConnection:
        began_ns = now_ns()
        with self._lock:
            self._waiting += 1
        try:
            return self._next_connection(Deadline.after_s(timeout_s))
        except psycopg_pool.PoolClosed:
            raise EngineClosed("the pool of connections to Postgres is closed") from None
        finally:
            with self._lock:
                self._waiting -= 1
                self._waited_ns += now_ns() - began_ns

    def _next_connection(self, deadline: Deadline) -> BoundedConnection:
        while True:
            try:
                return self._pool.getconn(max(0.001, min(_LOOK_S, deadline.remaining_s())))
            except psycopg_pool.PoolTimeout:
                self.check()
                if deadline.expired:
                    raise PoolExhausted("no connection to Postgres became free in time") from None

    @contextmanager
    def _using(self, connection: BoundedConnection) -> Iterator[None]:
        with self._lock:
            self._in_use += 1
        try:
            yield
        except (psycopg.Error, StoreUnavailable) as error:
            if not connection.closed:
                raise
            connection.lose()
            self._broke(error)
            raise StoreUnavailable(f"Postgres: {one_line(error)}") from error
        else:
            self._server.answered()
        finally:
            with self._lock:
                self._in_use -= 1
            self._pool.putconn(connection)

    def _broke(self, error: Exception) -> None:
        with self._lock:
            self._errors += 1
        self._server.failed(error)
        if not self._leaving.is_set():
            self._pool.drain()  # idle connections are no better than the one that broke

    def _connecting_failed(self, error: Exception) -> None:
        """In a thread of psycopg_pool, or the probe's."""
        # A server that says why it has no room for one more connection goes on serving those that it has.
        if not (self._book.count and "FATAL" in str(error)):
            self._server.failed(error)

    # --- the probe's thread -----------------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._leaving.is_set():
            self._ask()
            self._leaving.wait(PROBE_EVERY_S if self._server.is_answering else RETRY_EVERY_S)

    def _ask(self) -> None:
        try:
            if self._server.is_answering:
                with self.acquire(PROBE_S, command_timeout_s=PROBE_S) as connection:
                    connection.execute("SELECT 1")
            elif self._server.may_try():
                self._ask_directly()
        except PoolExhausted:
            self._server.abandoned()  # all connections are in use
        except psycopg.Error as error:
            self._server.failed(error)
        except EngineError:
            return  # whoever raised it has noted it
        else:
            self._grow()

    def _ask_directly(self) -> None:
        """By a connection of its own: one that waited for the pool's would stay on its list of who waits."""
        with BoundedConnection.connect(**self._parameters) as connection:
            connection.deadline = Deadline.after_s(PROBE_S)
            try:
                connection.execute("SELECT 1")
            except StoreUnavailable as error:
                self._server.failed(error)
                raise
        self._server.answered()

    def _grow(self) -> None:
        """Replaces what psycopg_pool gave up: it does so only for whoever finds no idle connection."""
        size = self._pool.get_stats()["pool_size"]
        if size < self._min_connections and self._server.is_answering:
            self._pool.resize(size, self._max_connections)
            self._pool.resize(self._min_connections, self._max_connections)
