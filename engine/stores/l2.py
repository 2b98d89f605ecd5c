"""L2: answers in Redis, for all machines. Nobody waits for it longer than 50 ms, and nobody waits for a write.

One thread asks for all keys that wait in one exchange, while their recordings are decoded; then it writes what has come
to be stored. Whatever fails is a miss, and what comes too fast is not stored.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

from engine.callbacks import call_back
from engine.clock import Deadline
from engine.errors import EngineError, InheritedByFork
from engine.shm.forked import not_for_children
from engine.shm.process_row import ProcessRow
from engine.stores.node_keeper import COMMAND_S

PREFIX = b"nightscan:cache:v1:"
LEAST_S = 0.005  # a look-up that has waited until less than this is left is not asked
MOST_KEYS = 256  # in one exchange
MOST_STORES = 32  # in one exchange: a look-up waits for it
GATHER_S = 0.01  # what is to be stored waits so long for more
MOST_QUEUED = 512  # values to be stored
MOST_QUEUED_BYTES = 16 << 20
CLOSE_S = 2.0

_ANSWER = "an answer of the cache"

Callback = Callable[["bytes | None"], None]

_Queued = TypeVar("_Queued")


class KeyStore(Protocol):
    """What L2 asks: `RedisKeys`."""

    @property
    def usable(self) -> bool:
        """Whether asking is of use just now."""

    def fetch(self, keys: Sequence[bytes], deadline: Deadline) -> list[bytes | None]:
        """The value of each."""

    def store(self, entries: Sequence[tuple[bytes, bytes, int]], deadline: Deadline) -> int:
        """How many are stored."""


class L2Statistics(NamedTuple):
    """Of this process, since it began."""

    asked: int  # look-ups
    found: int  # of these
    late: int  # of these: not asked in time, since others were waited for
    stored: int  # values that Redis has said it stored
    dropped: int  # values that were not stored: the queue was full, or Redis did not take them
    waiting: int  # look-ups just now
    queued: int  # values to be stored just now


class _Lookup(NamedTuple):
    key: bytes
    callback: Callback
    deadline: Deadline


class L2:
    """Made after the fork; the thread begins with the first use. In a forked child each use raises InheritedByFork.

    Equation: asked = found + misses + waiting; each look-up is called back exactly once. Of the counters of its process
    it adds to `l2.stored` and `l2.dropped` alone: what a value that was found is worth others say.
    """

    def __init__(self, keys: KeyStore, row: ProcessRow) -> None:
        self._keys = keys
        self._row = row
        self._work = threading.Condition()
        self._lookups: deque[_Lookup] = deque()
        self._stores: deque[tuple[bytes, bytes, int]] = deque()
        self._queued_bytes = 0
        self._asked = self._found = self._late = self._stored = self._dropped = 0
        self._thread: threading.Thread | None = None
        self._gathers = False  # the thread waits for more that is to be stored
        self._closed = self._inherited = False
        not_for_children(self)

    @property
    def usable(self) -> bool:
        """Whether asking is of use just now: a look without a lock, out of date at once."""
        return not self._closed and self._keys.usable

    def lookup(self, key: bytes, callback: Callback) -> None:
        """Has `callback` called with the value of `key`, or None, once, within 50 ms: in the thread of L2, or in here.

        It must not block. The value is whatever lies there: anybody may have written it.
        """
        if self._inherited:
            raise InheritedByFork()
        with self._work:
            self._asked += 1
            if self.usable:
                self._lookups.append(_Lookup(_stored_key(key), callback, Deadline.after_s(COMMAND_S)))
                self._begin()
                return
        callback(None)

    def store(self, key: bytes, value: bytes, ttl_ms: int) -> bool:
        """Has it stored for `ttl_ms` milliseconds, at least 1. False: too much is queued, or Redis is away."""
        if self._inherited:
            raise InheritedByFork()
        with self._work:
            full = len(self._stores) >= MOST_QUEUED or self._queued_bytes + len(value) > MOST_QUEUED_BYTES
            if full or ttl_ms < 1 or not self.usable:
                self._count(stored=0, dropped=1)
                return False
            self._stores.append((_stored_key(key), value, ttl_ms))
            self._queued_bytes += len(value)
            if not self._gathers or len(self._stores) >= MOST_STORES:
                self._begin()
            return True

    def _count(self, *, stored: int, dropped: int) -> None:
        """Caller holds the lock."""
        self._stored += stored
        self._dropped += dropped
        self._row.add_all((("l2.stored", stored), ("l2.dropped", dropped)))

    def _begin(self) -> None:
        """Caller holds the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="l2", daemon=True)
            self._thread.start()
        self._work.notify()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        stores_last = True
        while True:
            with self._work:
                self._wait_for_work()
                if self._closed and not self._lookups:
                    return
                # A look-up goes first, but where they never cease every other turn is for what is to be stored.
                stores_now = not self._lookups or (len(self._stores) >= MOST_STORES and not stores_last)
                lookups = [] if stores_now else _taken(self._lookups, MOST_KEYS)
                stores = _taken(self._stores, MOST_STORES) if stores_now else []
                self._queued_bytes -= sum(len(value) for _, value, _ in stores)
            if lookups:
                self._answer(lookups)
            else:
                self._write(stores)
            stores_last = stores_now

    def _wait_for_work(self) -> None:
        """Caller holds the lock."""
        self._work.wait_for(lambda: self._lookups or self._stores or self._closed)
        if not self._lookups and not self._closed and len(self._stores) < MOST_STORES:
            self._gathers = True  # what is to be stored is in no hurry: several at once cost less
            self._work.wait(GATHER_S)
            self._gathers = False

    def _answer(self, lookups: Sequence[_Lookup]) -> None:
        """One deadline for all: that of the first, which has waited longest. Those with no time left are not asked."""
        late = next((at for at, each in enumerate(lookups) if each.deadline.remaining_s() >= LEAST_S), len(lookups))
        in_time = lookups[late:]  # they stand in the order of their deadlines
        values: list[bytes | None] = []
        if in_time:
            values = self._fetched([lookup.key for lookup in in_time], in_time[0].deadline)
        with self._work:
            self._found += len(values) - values.count(None)
            self._late += late
        for lookup in lookups[:late]:
            call_back(_ANSWER, lookup.callback, None)
        for lookup, value in zip(in_time, values, strict=True):
            call_back(_ANSWER, lookup.callback, value)

    def _fetched(self, keys: Sequence[bytes], deadline: Deadline) -> list[bytes | None]:
        try:
            return self._keys.fetch(keys, deadline)
        except EngineError:  # the pool was closed meanwhile
            return [None] * len(keys)

    def _write(self, stores: Sequence[tuple[bytes, bytes, int]]) -> None:
        stored = 0
        with suppress(EngineError):  # the pool was closed meanwhile
            stored = self._keys.store(stores, Deadline.after_s(COMMAND_S))
        with self._work:
            self._count(stored=stored, dropped=len(stores) - stored)

    # --- seen, and its end ------------------------------------------------------------------------------------------

    def statistics(self) -> L2Statistics:
        """As of now."""
        with self._work:
            waiting, queued = len(self._lookups), len(self._stores)
            return L2Statistics(self._asked, self._found, self._late, self._stored, self._dropped, waiting, queued)

    def close(self) -> None:
        """Every look-up that waits is called back; what is queued is dropped. Before the pool. Idempotent."""
        if self._inherited:
            return
        with self._work:
            self._closed = True
            self._count(stored=0, dropped=len(self._stores))
            self._stores.clear()
            self._work.notify()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_S)

    def let_go_in_child(self) -> None:
        """Its thread does not exist here, and its lock may be held for ever."""
        self._inherited = True


def _stored_key(key: bytes) -> bytes:
    return PREFIX + key.hex().encode()


def _taken(queue: deque[_Queued], most: int) -> list[_Queued]:
    return [queue.popleft() for _ in range(min(most, len(queue)))]
