"""The last requests that one process has answered: in private memory at first, then beside its row of the segment.

One writer, whoever has the lock of the row; anybody reads. A place is a word and a record of fixed length. The word is
odd while the record is written, and 2 * (number + 1) once the record of that number is whole, so a reader that finds
the same even word before and after it has copied has one whole record. A number is taken, in the row, before its record
is written: of two owners of a row, one of them killed, none writes a number twice. Partner of both: `records_in` and
`payload_at`.

The first LAST_PLACES places go round by the number. In the next ERROR_PLACES the same is done with those that failed,
and the rest are the slowest of a minute: at a thousand requests a second a failure would not be seen otherwise.

Of a flood of ordinary ones few are written (`wants`): whoever looks does so once a second, when all places would have
been written several times over, at 2 % of the processor's time.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterator

from engine.clock import NS_PER_S
from engine.core.slowest import Slowest
from engine.core.thinning import Thinning
from engine.crash_points import reach
from engine.observe.answered import AnsweredRequest
from engine.observe.recent_requests import FIRST_ERROR_STATUS
from engine.shm.machine_layout import (
    ERROR_PLACES,
    LAST_PLACES,
    PLACE_BYTES,
    REQUEST_PLACES,
    REQUEST_RING_BYTES,
    SLOW_PLACES,
    ProcessWord,
)
from engine.shm.request_record import pack_request, unpack_request
from engine.shm.words import WORD_BYTES


class _Unfinished(enum.Enum):
    UNFINISHED = enum.auto()


UNFINISHED = _Unfinished.UNFINISHED  # in place of a record that its writer has begun, or is about to
_PLACE_WORDS = PLACE_BYTES // WORD_BYTES
_KEEP_SLOW_NS = 60 * NS_PER_S
_ORDINARY_NS = NS_PER_S // LAST_PLACES  # between ordinary ones of a flood: the places are those of a second
_ERRORS_AT, _SLOW_AT = LAST_PLACES, LAST_PLACES + ERROR_PLACES


class RequestRing:
    """The only way to write one. Thread-safe; after `close`, and in a forked child, it forgets what it is given."""

    def __init__(self) -> None:
        """In private memory, which comes with the first request."""
        self._lock = threading.Lock()  # a record is many stores, and the ring may move meanwhile
        self._row: memoryview | None = None  # of the process; None: private
        self._ring: memoryview | None = None  # of REQUEST_RING_BYTES; None: nothing was written yet
        self._words: memoryview | None = None  # the same, as words
        self._numbers = [0, 0]  # of the next request and the next failure
        self._slowest = Slowest(SLOW_PLACES, _KEEP_SLOW_NS)
        self._thinning = Thinning(LAST_PLACES, _ORDINARY_NS)
        self._closed = False

    def wants(self, total_ns: int, at_ns: int) -> bool:
        """Whether to write an ordinary request, answered with a 200, that took so long and ended then.

        It may be asked by several threads: then a few more are written, or fewer.
        """
        return self._thinning.lets(at_ns) or self._slowest.has_place(total_ns, at_ns)

    def write(self, answered: AnsweredRequest) -> None:
        """Remembers it."""
        with self._lock:
            if not self._closed:
                self._write(pack_request(answered), answered.status, answered.total_ns, answered.at_ns)

    def move_to(self, row: memoryview, ring: memoryview) -> None:
        """Goes on in `ring`, `[REQUEST_RING_BYTES]` of a segment, with what it has: `row` is its process's row there,
        and locked. Both are released by this ring."""
        with self._lock:
            known = {} if self._ring is None else dict(records_in(self._ring))  # by number: some are there twice
            self._let_go()
            self._row, self._ring = row, ring
            self._words = ring.cast("Q")
            self._numbers = [row[ProcessWord.REQUESTS], row[ProcessWord.REQUESTS_FAILED]]
            for _, one in sorted(known.items()):
                self._write(pack_request(one), one.status, one.total_ns, one.at_ns)

    def records(self) -> list[AnsweredRequest]:
        """What it remembers, in no order."""
        with self._lock:
            return [] if self._ring is None else [each for _, each in records_in(self._ring)]

    def close(self) -> None:
        """Lets go of the segment; what is in it stays there. Idempotent."""
        with self._lock:
            self._closed = True
            self._let_go()

    def let_go_in_child(self) -> None:
        """The ring is the parent's, and whoever held the lock does not exist here."""
        self._lock = threading.Lock()
        self._closed = True
        self._row = self._ring = self._words = None

    def _let_go(self) -> None:
        views, self._words, self._ring, self._row = (self._words, self._ring, self._row), None, None, None
        for view in views:
            if view is not None:
                view.release()

    def _write(self, payload: bytes, status: int, total_ns: int, at_ns: int) -> None:
        """Caller holds the lock."""
        if self._ring is None:
            self._ring = memoryview(bytearray(REQUEST_RING_BYTES))
            self._words = self._ring.cast("Q")
        number = self._take(0, ProcessWord.REQUESTS)
        self._put(number % LAST_PLACES, number, payload)
        if status >= FIRST_ERROR_STATUS:
            self._put(_ERRORS_AT + self._take(1, ProcessWord.REQUESTS_FAILED) % ERROR_PLACES, number, payload)
        slow = self._slowest.place(total_ns, at_ns)
        if slow is not None:
            self._put(_SLOW_AT + slow, number, payload)

    def _take(self, which: int, word: int) -> int:
        number = self._numbers[which]
        self._numbers[which] = number + 1
        if self._row is not None:
            self._row[word] = number + 1
        return number

    def _put(self, place: int, number: int, payload: bytes) -> None:
        assert self._ring is not None and self._words is not None
        at, word = place * PLACE_BYTES + WORD_BYTES, place * _PLACE_WORDS
        self._words[word] = 2 * number + 1
        reach("request.half")
        self._ring[at : at + len(payload)] = payload
        self._words[word] = 2 * number + 2


def records_in(ring: memoryview) -> Iterator[tuple[int, AnsweredRequest]]:
    """Number and record of every place of `ring` that holds a whole one; what is written meanwhile may be left out."""
    with ring.cast("Q") as words:
        for place in range(REQUEST_PLACES):
            found = _whole_at(ring, words, place)
            if found is not None:
                yield found


def record_at(ring: memoryview, place: int) -> AnsweredRequest | None:
    """What lies in this place; None if that is nothing whole."""
    with ring.cast("Q") as words:
        found = _whole_at(ring, words, place)
    return None if found is None else found[1]


def payload_at(ring: memoryview, number: int) -> bytes | _Unfinished | None:
    """What `pack_request` has made of the record of this number; None if another one lies in its place by now."""
    place = number % LAST_PLACES
    with ring.cast("Q") as words:
        word = words[place * _PLACE_WORDS]
        if word < 2 * number + 2:
            return UNFINISHED
        copy = _copy(ring, place)
        return copy if word == words[place * _PLACE_WORDS] == 2 * number + 2 else None


def _whole_at(ring: memoryview, words: memoryview, place: int) -> tuple[int, AnsweredRequest] | None:
    word = words[place * _PLACE_WORDS]
    if word == 0 or word % 2:
        return None
    copy = _copy(ring, place)
    # Another word by now: the copy may be of two records.
    return (word // 2 - 1, unpack_request(copy)) if words[place * _PLACE_WORDS] == word else None


def _copy(ring: memoryview, place: int) -> bytes:
    return bytes(ring[place * PLACE_BYTES + WORD_BYTES : (place + 1) * PLACE_BYTES])
