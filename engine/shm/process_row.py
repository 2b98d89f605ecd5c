"""What one process counts apart from any deployment: in private memory at first, then in a row of the machine segment.

The permission to write a row is the lock of its first byte, which the kernel gives back when the process dies. Whoever
takes the row next goes on counting where that one stopped, so that no counter ever falls; gauges, which say what is
now, start at 0 and count only while the row is locked.
"""

from __future__ import annotations

import logging
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from engine.core.lending import Holding, Loan
from engine.crash_points import reach
from engine.errors import ProtocolError
from engine.messages import process_start_ticks
from engine.observe.histograms import AUDIO_LENGTH, UPLOAD_SIZE, HistogramShape, http_duration
from engine.observe.metrics import (
    HTTP_ROUTES,
    HTTP_STATUSES,
    LENT_POOLS,
    PROCESS_COUNTERS,
    PROCESS_GAUGES,
    http_counter,
    http_route,
)
from engine.shm.byte_lock import ByteLocks
from engine.shm.forked import not_for_children
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import SUPERVISOR_ROW, ProcessWord
from engine.shm.request_ring import RequestRing
from engine.shm.words import WORD_BYTES

_log = logging.getLogger(__name__)
_COUNTER_WORD = {name: ProcessWord.COUNTERS + k for k, name in enumerate(PROCESS_COUNTERS)}
_GAUGE_WORD = {name: ProcessWord.GAUGES + k for k, name in enumerate(PROCESS_GAUGES)}


def _words_of(shape: HistogramShape) -> tuple[Sequence[int], tuple[int, ...], int]:
    """Its bounds, and the words of its buckets and of its total."""
    return shape.bounds, tuple(_COUNTER_WORD[name] for name in shape.buckets), _COUNTER_WORD[shape.total]


_DURATION = {route: _words_of(http_duration(*route)) for route in HTTP_ROUTES}
_RECORDING = (_words_of(UPLOAD_SIZE), _words_of(AUDIO_LENGTH))
_STATUS_WORD = {
    (*route, status): _COUNTER_WORD[http_counter(*route, status)] for route in HTTP_ROUTES for status in HTTP_STATUSES
}
_LENT = {pool: k for k, pool in enumerate(LENT_POOLS)}
_WORD_MASK = (1 << 64) - 1


class ProcessRow:
    """The only way to write a row. Thread-safe; in a forked child nothing that is written arrives anywhere."""

    def __init__(self, shares: Mapping[str, int]) -> None:
        """Use `private`."""
        self._shares = shares
        self._words = _private_words()
        self._lock = threading.Lock()  # an increment is a load and a store, and the row may move meanwhile
        self._machine: tuple[int, int] | None = None  # identity of the segment that it is in
        self._claim: ByteLocks | None = None
        self._seen = dict.fromkeys(LENT_POOLS, 0)  # number of the loan that the pool was told of last
        self._held = dict.fromkeys(LENT_POOLS, 0)
        self._closed = False
        self.requests = RequestRing()  # moves with the row
        not_for_children(self)

    @classmethod
    def private(cls, shares: Mapping[str, int] | None = None) -> ProcessRow:
        """One that nobody else sees yet. `shares`: what a pool may have open while nobody lends; none by default."""
        return cls(shares or {})

    # --- where it is ------------------------------------------------------------------------------------------------

    @property
    def is_private(self) -> bool:
        return self._machine is None

    def move_to(self, machine: MachineSegment, row: int | None = None) -> bool:
        """Takes a row of `machine`, which stays the caller's, and adds there what was counted so far.

        `row`: that one and no other. False if there is none to be had, and then everything stays as it was; True as
        well if it is there already. Raises OSError.
        """
        with self._lock:
            if self._closed or self._machine == machine.identity:
                return not self._closed
            claim = ByteLocks(machine.fd)
            taken = _take(machine, claim, row)
            if taken is None:
                claim.close()
                return False
            words = machine.row(taken)
            self._begin(words)
            before, self._words = self._words, words
            for word in _COUNTER_WORD.values():
                words[word] = (words[word] + before[word]) & _WORD_MASK
                reach("row.counter")
            for word in _GAUGE_WORD.values():
                words[word] = before[word]
            self._leave(before)
            self._machine, self._claim = machine.identity, claim
            if taken != SUPERVISOR_ROW:  # the supervisor answers no recordings
                self._move_requests(machine, taken)
        return True

    def _move_requests(self, machine: MachineSegment, row: int) -> None:
        try:
            machine.allocate_ring(row)
        except OSError as error:
            _log.warning("the last requests of this process are not seen by others: %s", error)
        else:
            self.requests.move_to(machine.row(row), machine.ring(row))

    def _begin(self, words: memoryview) -> None:
        """Makes the row that is locked ours. Caller holds the lock."""
        for word in _GAUGE_WORD.values():
            words[word] = 0
        reach("row.cleared")
        words[ProcessWord.PID] = os.getpid()
        words[ProcessWord.START_TICKS] = process_start_ticks(os.getpid())
        reach("row.named")
        # From here on the loan that stands in the row is another's, and nothing of it is ours. Partner: the lender,
        # which counts the claim of an epoch that it does not see any more as ended.
        epoch = words[ProcessWord.EPOCH] + 1 & _WORD_MASK
        words[ProcessWord.EPOCH] = epoch
        reach("row.begun")
        for pool, k in _LENT.items():
            self._seen[pool] = 0
            words[ProcessWord.HOLDINGS + k] = Holding(epoch, 0, self._held[pool]).pack()

    def _leave(self, words: memoryview) -> None:
        """Gives back what `words` were, if they were a row. Caller holds the lock."""
        if self._claim is not None:
            for word in _GAUGE_WORD.values():
                words[word] = 0
            self._claim.close()
        words.release()

    def close(self) -> None:
        """Gives the row back; nothing is counted any more. After the pools: what they hold is anybody's then."""
        with self._lock:
            if not self._closed:
                self._closed = True
                words, self._words = self._words, _private_words()
                self.requests.close()
                self._leave(words)
                self._machine = self._claim = None

    def let_go_in_child(self) -> None:
        """The row is the parent's, and whoever held the lock does not exist here. The claim lets go by itself."""
        self._lock = threading.Lock()
        self._words = _private_words()
        self._machine = self._claim = None
        self._closed = True
        self.requests.let_go_in_child()

    # --- counting ---------------------------------------------------------------------------------------------------

    def add(self, name: str, n: int = 1) -> None:
        """Adds to a counter of PROCESS_COUNTERS; KeyError for any other name."""
        word = _COUNTER_WORD[name]
        with self._lock:
            self._words[word] = (self._words[word] + n) & _WORD_MASK

    def add_all(self, counts: Iterable[tuple[str, int]]) -> None:
        """`add` for several."""
        with self._lock:
            words = self._words
            for name, n in counts:
                word = _COUNTER_WORD[name]
                words[word] = (words[word] + n) & _WORD_MASK

    def add_answer(
        self, method: str, endpoint: str, status: int, duration_ns: int, recording: tuple[int, int] | None = None
    ) -> None:
        """One answer over HTTP, how long it took, and of a recording that was answered the bytes and milliseconds.

        A route or status that is not declared is counted under "other".
        """
        word = _STATUS_WORD.get((method, endpoint, status)) or _COUNTER_WORD[http_counter(method, endpoint, status)]
        bounds, buckets, total = _DURATION.get((method, endpoint)) or _DURATION[http_route(method, endpoint)]
        bucket = buckets[bisect_left(bounds, duration_ns)]
        with self._lock:
            words = self._words
            words[word] = (words[word] + 1) & _WORD_MASK
            words[bucket] = (words[bucket] + 1) & _WORD_MASK
            words[total] = (words[total] + duration_ns) & _WORD_MASK
            if recording is not None:
                for (bounds, buckets, total), figure in zip(_RECORDING, recording):
                    bucket = buckets[bisect_left(bounds, figure)]
                    words[bucket] = (words[bucket] + 1) & _WORD_MASK
                    words[total] = (words[total] + figure) & _WORD_MASK

    def set(self, name: str, value: int) -> None:
        """Sets a gauge of PROCESS_GAUGES, not below 0; KeyError for any other name."""
        word = _GAUGE_WORD[name]
        with self._lock:
            self._words[word] = max(0, value)

    def get(self, name: str) -> int:
        """What stands in the row: of a counter, with what was counted in it by others before."""
        word = _COUNTER_WORD.get(name) or _GAUGE_WORD[name]
        with self._lock:
            return int(self._words[word])

    def figures(self) -> dict[str, int]:
        """All counters and gauges by name, as `get` has them."""
        with self._lock:
            return {name: int(self._words[word]) for name, word in (*_COUNTER_WORD.items(), *_GAUGE_WORD.items())}

    # --- connections that are lent ----------------------------------------------------------------------------------

    def share(self, pool: str) -> int:
        """How many connections `pool`, of LENT_POOLS, may have open from now on.

        Whoever asks opens no more than that, and then says by `hold` what it keeps; one thread for each pool. With less
        than it has open, it closes what is idle at once and the rest as it comes back.
        """
        k = _LENT[pool]
        with self._lock:
            if self._machine is None:
                return 0 if self._closed else self._shares.get(pool, 0)
            loan = Loan.unpack(self._words[ProcessWord.LOANS + k])
            if not loan.is_for(self._words[ProcessWord.EPOCH]):
                return 0
            self._seen[pool] = loan.number
            return loan.most

    def hold(self, pool: str, count: int) -> None:
        """Says that `pool` has at most `count` connections open, or what `share` has last said if that is more."""
        k = _LENT[pool]
        with self._lock:
            self._held[pool] = count
            holding = Holding(self._words[ProcessWord.EPOCH], self._seen[pool], count)
            self._words[ProcessWord.HOLDINGS + k] = holding.pack()


def _private_words() -> memoryview:
    return memoryview(bytearray(WORD_BYTES * ProcessWord.WORDS)).cast("Q")


def _take(machine: MachineSegment, claim: ByteLocks, row: int | None) -> int | None:
    """The row that was locked: the wished one, or the first that is free and not the supervisor's."""
    rows = machine.geometry.rows
    if row is not None and not 0 <= row < rows:
        raise ProtocolError(f"a machine segment of {rows} rows has no row {row}")
    wished = range(SUPERVISOR_ROW + 1, rows) if row is None else [row]
    return next((k for k in wished if claim.try_lock(machine.geometry.row_at(k))), None)
