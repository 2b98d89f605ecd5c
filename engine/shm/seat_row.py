"""What one instance counts in the row of its seat, in the machine segment; in private memory until it has met one.

The permission to write a row is the lock of its first byte, which the kernel gives back when the instance dies. The
next one of the same seat goes on where it stopped, in whichever version of the deployment it serves, so that no counter
of a seat ever falls. Two rows may be of one seat, while a version follows another; what they say is added up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from engine.clock import now_ns
from engine.crash_points import reach
from engine.observe.histograms import BATCH_SIZE, COMPUTING, QUEUEING, HistogramShape
from engine.observe.metrics import SEAT_COUNTERS, SEAT_GAUGES
from engine.shm.byte_lock import ByteLocks
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import SEAT_NAME_BYTES, SEAT_ROWS, SeatWord
from engine.shm.words import WORD_BYTES

COUNTER_WORD = {name: SeatWord.COUNTERS + k for k, name in enumerate(SEAT_COUNTERS)}
GAUGE_WORD = {name: SeatWord.GAUGES + k for k, name in enumerate(SEAT_GAUGES)}
_WORD_MASK = (1 << 64) - 1


class SeatRow:
    """The only way to write one. For the one thread of an instance that works."""

    def __init__(self, deployment_id: str, seat: int, device: int) -> None:
        """`device`: as `InstanceWord.DEVICE` has it."""
        self._name = deployment_id.encode()[:SEAT_NAME_BYTES].ljust(SEAT_NAME_BYTES, b"\0")
        self._seat, self._device = seat, device
        self._words = memoryview(bytearray(WORD_BYTES * SeatWord.WORDS)).cast("Q")
        self._machine: tuple[int, int] | None = None  # identity of the segment that it is in
        self._claim: ByteLocks | None = None

    def move_to(self, machine: MachineSegment) -> bool:
        """Takes a row of `machine`, which stays the caller's, and adds there what was counted so far.

        False if all are taken, and then everything stays as it was; True as well if it is there already. Raises
        OSError.
        """
        if self._machine == machine.identity:
            return True
        claim = ByteLocks(machine.fd)
        with contextlib.ExitStack() as undo:
            undo.callback(claim.close)
            words = self._taken(machine, claim)
            if words is None:
                return False
            undo.pop_all()
        before, self._words = self._words, words
        has_died = words[SeatWord.BEGUN_AT] and not words[SeatWord.LEFT]  # whoever sat here before
        words[SeatWord.LEFT] = 0
        words[SeatWord.BEGUN_AT] = now_ns()
        for word in COUNTER_WORD.values():
            words[word] = (words[word] + before[word]) & _WORD_MASK
        for word in GAUGE_WORD.values():
            words[word] = before[word]
        self._leave(before)
        self._machine, self._claim = machine.identity, claim
        self.add_all((("starts", 1), ("restarts", int(bool(has_died)))))
        return True

    def close(self) -> None:
        """Gives the row back: this instance leaves in good order. Nothing is counted any more."""
        words, self._words = self._words, memoryview(bytearray(WORD_BYTES * SeatWord.WORDS)).cast("Q")
        self._leave(words)
        self._claim = self._machine = None

    def add_all(self, counts: Iterable[tuple[str, int]]) -> None:
        """Adds to counters of SEAT_COUNTERS; KeyError for any other name."""
        words = self._words
        for name, n in counts:
            word = COUNTER_WORD[name]
            words[word] = (words[word] + n) & _WORD_MASK

    def add_taken(self, waited_ns: Iterable[int]) -> None:
        """A batch was taken, whose items have waited for so long."""
        words, total_ns = self._words, 0
        for one_ns in waited_ns:
            words[_QUEUE_WORDS[QUEUEING.bucket(one_ns)]] += 1
            total_ns += one_ns
        word = COUNTER_WORD[QUEUEING.total]
        words[word] = (words[word] + total_ns) & _WORD_MASK

    def add_batch(self, *, computed: int, failed: int, busy_ns: int) -> None:
        """A batch was answered, as `BatchCounts` has it."""
        self.add_all((("batches", 1), ("requests", computed), ("failed", failed), ("busy_ns", busy_ns)))
        self._words[_COMPUTE_WORDS[COMPUTING.bucket(busy_ns)]] += 1
        self._words[_SIZE_WORDS[BATCH_SIZE.bucket(computed)]] += 1

    def set(self, name: str, value: int) -> None:
        """Sets a gauge of SEAT_GAUGES; KeyError for any other name."""
        self._words[GAUGE_WORD[name]] = value

    def _taken(self, machine: MachineSegment, claim: ByteLocks) -> memoryview | None:
        """The row of this seat that nobody has, else one that was never used, else the one that is idle for longest."""
        rows = [machine.seat_row(k) for k in range(SEAT_ROWS)]
        said = [row[SeatWord.SAYS] for row in rows]
        ours = [k for k in range(SEAT_ROWS) if self._is_ours(rows[k])]
        unused = [k for k in range(SEAT_ROWS) if not said[k]]
        others = sorted(set(range(SEAT_ROWS)) - {*ours, *unused}, key=lambda k: rows[k][SeatWord.BEGUN_AT])
        for k in (*ours, *unused, *others):
            if not claim.try_lock(machine.geometry.seat_at(k)):
                continue
            if rows[k][SeatWord.SAYS] != said[k]:  # it was given to another seat meanwhile
                claim.unlock(machine.geometry.seat_at(k))
                continue
            if k not in ours:
                self._name_it(rows[k])
            return rows[k]
        return None

    def _is_ours(self, words: memoryview) -> bool:
        if words[SeatWord.SAYS] % 2 or (words[SeatWord.SEAT], words[SeatWord.DEVICE]) != (self._seat, self._device):
            return False
        return bool(words[SeatWord.SAYS]) and words[SeatWord.DEPLOYMENT : SeatWord.COUNTERS].tobytes() == self._name

    def _name_it(self, words: memoryview) -> None:
        """Makes the row that is locked this seat's, with nothing counted. Partner: `seat_figures`."""
        says = words[SeatWord.SAYS]
        words[SeatWord.SAYS] = says = says + 1 + says % 2  # odd: not to be read
        reach("seat.unnamed")
        for word in range(SeatWord.BEGUN_AT, SeatWord.WORDS):
            words[word] = 0
        words[SeatWord.SEAT], words[SeatWord.DEVICE] = self._seat, self._device
        for word, value in enumerate(memoryview(self._name).cast("Q"), SeatWord.DEPLOYMENT):
            words[word] = value
        reach("seat.named")
        words[SeatWord.SAYS] = says + 1

    def _leave(self, words: memoryview) -> None:
        """Gives back what `words` were, if they were a row."""
        if self._claim is not None:
            for word in GAUGE_WORD.values():
                words[word] = 0
            words[SeatWord.LEFT] = 1
            self._claim.close()
        words.release()


def _words_of(shape: HistogramShape) -> tuple[int, ...]:
    return tuple(COUNTER_WORD[name] for name in shape.buckets)


_COMPUTE_WORDS, _QUEUE_WORDS, _SIZE_WORDS = _words_of(COMPUTING), _words_of(QUEUEING), _words_of(BATCH_SIZE)
