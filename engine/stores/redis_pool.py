"""What one process has of Redis: a server, or the primaries of a cluster, and its share of the connections.

Its own thread imports redis-py, finds out what there is and follows the share. No caller ever waits for any of this:
what is not there is not asked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.clock import Deadline
from engine.errors import EngineClosed, InheritedByFork, StoreUnavailable
from engine.shm.forked import not_for_children
from engine.shm.process_row import ProcessRow
from engine.stores.node_keeper import LONGEST_OPEN_S, Connect
from engine.stores.node_pool import NodePool
from engine.stores.pool import PoolStatistics
from engine.stores.pool_report import PoolReport
from engine.stores.redis_address import RedisAddress
from engine.stores.redis_nodes import NONE_YET
from engine.stores.redis_watch import RedisWatch
from engine.stores.redis_words import Link, RedisRefusal

POOL = "redis"  # in the row of the process
TICK_S = 0.1  # how soon a changed share is acted upon
CLOSE_S = LONGEST_OPEN_S + 1.0  # an attempt to connect cannot be broken off
REFUSED_S = 10.0  # a refusal is told for so long

_log = logging.getLogger(__name__)

Links = Callable[[RedisAddress], Connect]


def redis_links(address: RedisAddress) -> Connect:
    """What opens connections by redis-py."""
    # Here: its 6 MB and 50 ms are for processes that have a redis_url, and do not keep up their start.
    from engine.stores.redis_link import RedisLink

    return lambda node, deadline: RedisLink(node, address, deadline)


class RedisPool:
    """A `ConnectionPool[Link]`. How many connections to each server it may have is `row.share(POOL)`, looked at every
    TICK_S; there too it shows what it does. Thread-safe.
    """

    def __init__(
        self, address: RedisAddress, row: ProcessRow, *, minimum: int, open_s: float, links: Links = redis_links
    ) -> None:
        """`minimum`: connections that are kept open to each server; `open_s`: the longest attempt to connect."""
        self._address, self._links, self._minimum, self._open_s = address, links, minimum, open_s
        self._row = row
        self._thread = threading.Thread(target=self._run, name="redis", daemon=True)
        self._ended = threading.Event()
        self._watch: RedisWatch | None = None  # writer: the pool's thread
        self._refused = ""  # writers: those who exchange; the last one is right
        self._refused_until = Deadline(0)
        self._closed = self._inherited = False
        not_for_children(self)

    # --- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begins to look for servers and to connect, in threads of its own; returns at once."""
        self._check()
        self._thread.start()

    def _run(self) -> None:
        connect = self._links(self._address)
        watch = self._watch = RedisWatch(self._address, connect, minimum=self._minimum, open_s=self._open_s)
        report = PoolReport(self._row, POOL)
        told = ""
        while not self._ended.is_set():
            self._row.hold(POOL, watch.step(self._row.share(POOL)))
            report.show(watch.statistics())
            told = self._tell(told)
            self._ended.wait(TICK_S)
        watch.close(wait_s=LONGEST_OPEN_S)
        self._row.hold(POOL, 0)
        report.show(watch.statistics())
        report.end()

    def _tell(self, told: str) -> str:
        """One line in the log when Redis is not used any more, or not as it should be, and one when it is again."""
        trouble = self.trouble
        self._row.set("redis.refusing", not self._refused_until.expired)
        if trouble and not told:
            _log.warning("answers are cached on this machine alone: %s", trouble)
        elif told and not trouble:
            _log.info("answers are cached in Redis again")
        return trouble

    def close(self) -> None:
        """Closes all connections and ends the threads; waits no longer than CLOSE_S for them. Idempotent."""
        if self._inherited:
            return
        self._closed = True
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def let_go_in_child(self) -> None:
        """Every use is an error from now on; the connections let go of themselves."""
        self._inherited = True

    def _check(self) -> None:
        if self._inherited:
            raise InheritedByFork()
        if self._closed:
            raise EngineClosed("the pool is closed")

    # --- asking -----------------------------------------------------------------------------------------------------

    @property
    def pools(self) -> list[NodePool]:
        """Of the servers that are known."""
        watch = self._watch
        return list(watch.nodes.pools.values()) if watch is not None else []

    @property
    def usable(self) -> bool:
        """Whether any server is worth asking: a look without a lock, out of date at once."""
        return any(pool.usable for pool in self.pools)

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether every server that is known, and there is one, has a connection; waits up to `timeout_s`."""
        self._check()
        deadline = Deadline.after_s(timeout_s)
        while not ((pools := self.pools) and all(pool.usable for pool in pools)):
            if deadline.expired or self._ended.wait(min(TICK_S / 10, deadline.remaining_s())):
                return False
        return True

    @contextmanager
    def acquire(self, timeout_s: float) -> Iterator[Link]:
        """A connection for the block: of the server, or of any of a cluster; see NodePool."""
        self._check()
        pools = self.pools
        pool = next((each for each in pools if each.usable), pools[0] if pools else None)
        if pool is None:
            raise StoreUnavailable(self.trouble or "no server of Redis is known yet")
        with pool.acquire(timeout_s) as link:
            yield link

    def home_of(self, key: bytes) -> NodePool | None:
        """The server that has `key`, which has no braces in it; None while nobody is known to."""
        watch = self._watch
        if watch is None:
            return None
        pools, slots = watch.nodes.pools, watch.slots
        if slots is None:
            return next(iter(pools.values()), None)
        node = slots.node_of(key)
        return pools.get(node) if node is not None else None

    @property
    def is_cluster(self) -> bool:
        """Whether keys are at home on different servers."""
        watch = self._watch
        return watch is not None and watch.slots is not None

    def refused(self, refusal: RedisRefusal) -> None:
        """A server has answered with an error: it is told, or has the cluster looked at anew."""
        if refusal.is_elsewhere:
            if self._watch is not None:
                self._watch.stale = True
        else:
            self._refused, self._refused_until = refusal.text, Deadline.after_s(REFUSED_S)

    # --- seen -------------------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why it cannot be used, or what was refused just now, without secrets; "" when all is well."""
        watch = self._watch
        trouble = watch.trouble if watch is not None else ""
        return trouble or ("" if self._refused_until.expired else f"Redis refuses: {self._refused}")

    def statistics(self) -> PoolStatistics:
        """Of all servers together, of this process alone."""
        if self._inherited:
            raise InheritedByFork()
        return self._watch.statistics() if self._watch is not None else NONE_YET
