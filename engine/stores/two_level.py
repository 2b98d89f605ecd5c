"""The cache of answers: L1, which all processes of this machine share, over L2, which all machines share.

What is stale, strange, torn or away is a miss. Nothing here waits for a server or for another process.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from engine.clock import thread_cpu_ns, wall_clock_s
from engine.core.bypass import Bypass
from engine.core.repeats import look_of
from engine.observe.metrics import CACHE_LEVELS
from engine.shm.cache_record import CacheRecord, RecordKind
from engine.shm.forked import not_for_children
from engine.shm.l1 import L1
from engine.shm.machine import MachineSegment, open_l1
from engine.shm.process_row import ProcessRow
from engine.stores.cache_key import file_digest
from engine.stores.cache_value import CacheValue, decoded
from engine.stores.l2 import L2
from engine.stores.l2_envelope import opened, sealed
from engine.stores.lookup import LookupReason, Lookup
from engine.stores.single_flight import SingleFlight

Answered = Callable[["CacheValue | None"], object]

# What the thread of L2 takes for one key of an exchange, besides what is measured here; about.
_EXCHANGE_NS = 30_000

_log = logging.getLogger(__name__)


class _Names(NamedTuple):
    """Of a level's counters."""

    hits: str
    misses: str
    torn: str
    hit_age_ms: str


_NAMES = {level: _Names(*(f"{level}.{name}" for name in _Names._fields)) for level in CACHE_LEVELS}


class TwoLevelCache:
    """One process's. Thread-safe. Before the first `meet` there is L2 alone, or nothing to look into."""

    def __init__(self, row: ProcessRow, *, ttl_s: int, l2: L2 | None = None) -> None:
        """Made after the fork; `row` and `l2` stay the caller's, and are open for as long as this is."""
        self._row = row
        self._ttl_ms = ttl_s * 1000
        self._l1: L1 | None = None
        self._l2 = l2
        self.flights = SingleFlight(row.add)
        self._bypasses: dict[str, Bypass] = {}  # by deployment
        self.keep_ns = 0  # the last one's; any thread's
        self._bypassing = {"l1": False, "l2": False}  # what the row says
        self._lacks_memory = False  # what the row says: this process only reads L1
        self._lock = threading.Lock()  # around changing `_l1`
        not_for_children(self)

    def meet(self, machine: MachineSegment) -> None:
        """There is a machine segment, or another one: what lies in it is L1. Never raises."""
        with contextlib.ExitStack() as undo:
            try:
                l1 = open_l1(machine, self._row.add)
                if l1 is None:
                    return  # none is wanted, or there is no memory for it: the machine's figures say so
                undo.callback(l1.close)
                self.flights.meet(machine.fd, l1)
            except OSError as error:
                _log.warning("no L1 cache in this process: %s", error)
                return
            undo.pop_all()
        l1.claim()  # here, where nothing waits for it yet
        with self._lock:
            before, self._l1 = self._l1, l1
        if before is not None:
            before.close()

    def lookup(self, file: memoryview, deployment: str) -> Lookup | None:
        """A question about a file; None where it is not worth asking. Hashes it: see `cache_key.file_digest`."""
        l2 = self._l2
        if self._l1 is None and l2 is None:
            return None
        bypass = self._bypasses.get(deployment)
        if bypass is None:
            bypass = self._bypasses.setdefault(deployment, Bypass(has_l2=l2 is not None))
        if not bypass.passes_over():
            choice = bypass.choose(look_of(file))
            if choice.l1:
                began_ns = thread_cpu_ns()
                return Lookup(self, file_digest(file), LookupReason(bypass, choice, began_ns))
        self._row.add("l1.bypassed")
        if l2 is not None:
            self._row.add("l2.bypassed")
        return None

    def close(self) -> None:
        """Whoever waits computes by itself; L1 is let go. Idempotent."""
        self.flights.close()
        with self._lock:
            before, self._l1 = self._l1, None
        if before is not None:
            before.close()

    def let_go_in_child(self) -> None:
        """The parts let go by themselves; whoever held the lock does not exist here."""
        self._lock = threading.Lock()
        self._l1 = self._l2 = None

    # --- for lookups: see `Levels` ----------------------------------------------------------------------------------

    def from_l1(self, key: bytes, classes: int, *, is_counted: bool) -> CacheValue | None:
        l1 = self._l1
        record = None if l1 is None else l1.get(key)
        if record is None:
            if is_counted and l1 is not None:
                self._row.add("l1.misses")
            return None
        return self._checked("l1", record.value, record.expires_at_ms, classes)

    def ask_l2(self, key: bytes, classes: int, asked: LookupReason, answered: Answered) -> bool:
        l2 = self._l2
        if l2 is None or not l2.usable:
            return False
        if not asked.choice.l2:
            self._row.add("l2.bypassed")
            return False
        began_ns = thread_cpu_ns()

        def came(data: bytes | None) -> None:
            """In the thread of L2."""
            came_ns = thread_cpu_ns()
            value = self._from_l2(key, classes, data)
            cost_ns = thread_cpu_ns() - came_ns + asked_ns + _EXCHANGE_NS
            asked.bypass.asked_l2(cost_ns=cost_ns, hit=value is not None)
            answered(value)

        asked_ns = 0  # of this thread; L2's may be quicker than the next line but one
        l2.lookup(key, came)
        asked_ns = thread_cpu_ns() - began_ns
        return True

    def keep(self, key: bytes, value: bytes, asked: LookupReason) -> tuple[CacheRecord, bool]:
        began_ns = thread_cpu_ns()
        record = CacheRecord(value, _now_ms() + self._ttl_ms, RecordKind.ANSWER)
        is_kept = self._keep_in_l1(key, record)
        l2 = self._l2
        is_queued = l2 is not None and asked.choice.l2 and l2.store(
            key, sealed(key, value, record.expires_at_ms), self._ttl_ms
        )
        if is_kept or is_queued:
            asked.bypass.kept(asked.choice)
        self._show(asked.bypass)
        self.keep_ns = thread_cpu_ns() - began_ns
        return record, is_kept

    def _from_l2(self, key: bytes, classes: int, data: bytes | None) -> CacheValue | None:
        """What is found is kept in L1, for no longer than where it was found."""
        found = None if data is None else opened(key, data, now_ms=_now_ms(), longest_ms=self._ttl_ms)
        if found is None:
            self._row.add_all((("l2.misses", 1), ("l2.torn", int(data is not None))))
            return None
        value, expires_at_ms = found
        checked = self._checked("l2", value, expires_at_ms, classes)
        if checked is not None:
            self._keep_in_l1(key, CacheRecord(value, expires_at_ms, RecordKind.ANSWER))
        return checked

    def _checked(self, level: str, value: bytes, expires_at_ms: int, classes: int) -> CacheValue | None:
        """Counted as a hit, or as a miss for what is strange."""
        found = decoded(value, classes=classes)
        names = _NAMES[level]
        if found is None:
            self._row.add_all(((names.misses, 1), (names.torn, 1)))
        else:
            age_ms = max(0, self._ttl_ms - (expires_at_ms - _now_ms()))
            self._row.add_all(((names.hits, 1), (names.hit_age_ms, age_ms)))
        return found

    def _keep_in_l1(self, key: bytes, record: CacheRecord) -> bool:
        l1 = self._l1
        is_kept = l1 is not None and l1.put(key, record.value, record.expires_at_ms)
        if l1 is not None:
            self._row.add("l1.stored" if is_kept else "l1.dropped")
            if l1.lacks_memory is not self._lacks_memory:
                self._lacks_memory = l1.lacks_memory
                self._row.set("l1.without_memory", l1.lacks_memory)
        return is_kept

    def _show(self, bypass: Bypass) -> None:
        """The gauges: whether most look-ups are left out just now, as of the last deployment that kept something."""
        for level, is_skipped in (("l1", bypass.skips_l1), ("l2", self._l2 is not None and bypass.skips_l2)):
            if is_skipped is not self._bypassing[level]:
                self._bypassing[level] = is_skipped
                self._row.set(f"{level}.bypassing", is_skipped)


def _now_ms() -> int:
    return int(wall_clock_s() * 1000)
