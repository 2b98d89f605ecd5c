"""What every pool of connections is to those who use it: Redis, Postgres, the original API."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

from engine.core.breaker import BreakerState

Connection = TypeVar("Connection", covariant=True)


class PoolStatistics(NamedTuple):
    """Of this process alone. The first three are as of now, the others since the pool was opened."""

    in_use: int  # connections
    idle: int  # connections
    waiting: int  # callers
    opened: int  # connections
    lost: int  # connections that broke, or that the server closed
    errors: int  # attempts to connect, and uses, that failed
    wait_s: float  # that callers have waited for a connection, together
    breaker: BreakerState
    max_connections: int  # that this process may have just now


class ConnectionPool(Protocol[Connection]):
    """Synchronous, for any thread. Made and opened after the fork: in a forked child each use raises InheritedByFork.

    Equation: in_use + idle <= max_connections.
    """

    def open(self) -> None:
        """Begins to connect, in a thread of the pool's own; returns at once, also where the server is away."""

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether there is a connection, waiting for it up to `timeout_s`."""

    def acquire(self, timeout_s: float) -> AbstractContextManager[Connection]:
        """A connection for the block, given back after it, or thrown away if the block raised what broke it.

        Raises PoolExhausted after `timeout_s`, StoreUnavailable at once while the breaker is open, EngineClosed after
        `close`, InheritedByFork.
        """

    def close(self) -> None:
        """Closes every connection and ends the pool's threads, within a bounded time. Idempotent."""

    def statistics(self) -> PoolStatistics:
        """As of now."""
