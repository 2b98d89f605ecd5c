"""The cache of answers: L1, which all processes of this machine share, over L2, which all machines share.

What is stale, strange, torn or away is a miss. Nothing here waits for a server or for another process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from engine.clock import wall_clock_s
from engine.errors import InternalError
from engine.shm.cache_record import CacheRecord, RecordKind
from engine.shm.forked import not_for_children
from engine.shm.l1 import L1
from engine.shm.machine import MachineSegment
from engine.shm.process_row import ProcessRow
from engine.stores.cache_key import file_digest
from engine.stores.cache_value import CacheValue, decoded
from engine.stores.lookup import Lookup
from engine.stores.single_flight import SingleFlight

_log = logging.getLogger(__name__)

Answered = Callable[["CacheValue | None"], object]


class TwoLevelCache:
    """One process's. Thread-safe. Before the first `meet` there is nothing to look into."""

    def __init__(self, row: ProcessRow, *, ttl_s: int) -> None:
        """Made after the fork."""
        self._row = row
        self._ttl_ms = ttl_s * 1000
        self._l1: L1 | None = None
        self.flights = SingleFlight(row.add)
        self._lock = threading.Lock()  # around changing `_l1`
        not_for_children(self)

    def meet(self, machine: MachineSegment) -> None:
        """There is a machine segment, or another one: what lies in it is L1. Never raises."""
        if not machine.geometry.l1_bytes:
            return
        try:
            l1 = L1(machine.fd, machine.geometry.l1_at, machine.l1_area, self._row.add)
            self.flights.meet(machine.fd, l1)
        except (InternalError, OSError) as error:
            _log.warning("no L1 cache in this process: %s", error)
            return
        with self._lock:
            before, self._l1 = self._l1, l1
        if before is not None:
            before.close()

    def lookup(self, file: memoryview) -> Lookup | None:
        """A question about a file; None where it is not worth asking. Hashes it: see `cache_key.file_digest`."""
        if self._l1 is None:
            return None
        return Lookup(self, file_digest(file))

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
        self._l1 = None

    # --- for lookups: see `Levels` ----------------------------------------------------------------------------------

    def from_l1(self, key: bytes, classes: int, *, is_counted: bool) -> CacheValue | None:
        l1 = self._l1
        record = None if l1 is None else l1.get(key)
        if record is None:
            if is_counted and l1 is not None:
                self._row.add("l1.misses")
            return None
        return self._checked("l1", record.value, record.expires_at_ms, classes)

    def ask_l2(self, key: bytes, classes: int, answered: Answered) -> bool:
        return False

    def keep(self, key: bytes, value: bytes) -> tuple[CacheRecord, bool]:
        record = CacheRecord(value, _now_ms() + self._ttl_ms, RecordKind.ANSWER)
        return record, self._keep_in_l1(key, record)

    def _checked(self, level: str, value: bytes, expires_at_ms: int, classes: int) -> CacheValue | None:
        """Counted as a hit, or as a miss for what is strange."""
        found = decoded(value, classes=classes)
        if found is None:
            self._row.add_all(((f"{level}.misses", 1), (f"{level}.torn", 1)))
        else:
            age_ms = max(0, self._ttl_ms - (expires_at_ms - _now_ms()))
            self._row.add_all(((f"{level}.hits", 1), (f"{level}.hit_age_ms", age_ms)))
        return found

    def _keep_in_l1(self, key: bytes, record: CacheRecord) -> bool:
        l1 = self._l1
        is_kept = l1 is not None and l1.put(key, record.value, record.expires_at_ms)
        if l1 is not None:
            self._row.add("l1.stored" if is_kept else "l1.dropped")
        return is_kept


def _now_ms() -> int:
    return int(wall_clock_s() * 1000)
