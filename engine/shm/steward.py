"""The supervisor's side of a segment: names of instances, owners of lanes, and what the dead left behind.

Every step may be repeated by a successor that does not know how far its predecessor came: each ends with the one store
that makes it count. One supervisor at a time; the lock that ensures it is the supervisor's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine.crash_points import reach
from engine.errors import InternalError, OutOfMemory
from engine.observe.metrics import INSTANCE_COUNTERS
from engine.shm.layout import ORDERED_WORDS, Header, InstanceWord, LaneWord, device_name, device_number
from engine.shm.lease import Lease
from engine.shm.records import LaneStatistics
from engine.shm.segment import Segment
from engine.shm.words import FREE, LEASED, MAX_NAME, generation_of, lessee_of, pack, state_of

_LEASE_PATIENCE_S = 0.1  # arbitrary; the supervisor must stay able to kill a holder that hangs


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance that may hold slots."""

    name: int
    pid: int
    start_ticks: int  # field 22 of /proc/PID/stat: tells a process from a later one of the same pid
    go: bool  # whether its pidfd was queued to every frontend
    seat: int = 0  # its place in the pool
    device: str = ""  # what it runs on; empty if that was not said


@dataclass(frozen=True, slots=True)
class LaneRow:
    """Who owns a lane; pid 0: nobody does."""

    pid: int
    start_ticks: int
    epoch: int  # how often the lane was handed out


class Steward:
    """Permission to name instances and to hand out lanes. One per segment, in the supervisor."""

    def __init__(self, segment: Segment) -> None:
        """Opens a lease handle of its own; finishes what a predecessor left half done."""
        self.segment = segment
        self._lease = Lease(segment.fd)
        self._finish_folding()

    # --- instances --------------------------------------------------------------------------------------------------

    def new_name(self, pid: int, start_ticks: int, *, seat: int = 0, device: str = "") -> int:
        """A name never used before, with its row stored. The instance must not take before `mark_go`.

        Raises OutOfMemory if all rows are taken, InternalError once all 16 million names are spent.
        """
        header, name = self.segment.header, self.segment.name_counter + 1
        if name > MAX_NAME:
            raise InternalError("every name for an instance of this segment is spent: deploy again")
        row = self._row_of(0)
        if row is None:
            raise OutOfMemory(f"all {self.segment.geometry.instance_rows} rows for instances are taken")
        # The counter first: killed in between, the name is spent and nobody has it. Partner: frontends and successors
        # take a name up to the counter without a row for dead.
        header[Header.NAME_COUNTER] = name
        for word in range(InstanceWord.WORDS):
            row[word] = 0
        row[InstanceWord.PID] = pid
        row[InstanceWord.START_TICKS] = start_ticks
        row[InstanceWord.SEAT] = seat
        row[InstanceWord.DEVICE] = device_number(device)
        reach("name.half")
        row[InstanceWord.NAME] = name  # the row counts from here on; partner: `rows` of a successor
        return name

    def mark_go(self, name: int) -> None:
        """Every frontend has been sent the pidfd of `name`. Idempotent; raises InternalError for an unknown name."""
        self._known_row(name)[InstanceWord.GO] = 1

    def mark_ordered(self, name: int) -> None:
        """The instance `name` is about to be killed by order. Before the kill, which is what orders this store.

        Partner: LaneOwner._inherit, after the pidfd of `name` has become readable. What it had started is innocent.
        """
        self.segment.header[Header.ORDERED + name % ORDERED_WORDS] = name

    def latest_deadline_ns(self, name: int, *, arrived_by_ns: int) -> int | None:
        """Until when somebody waits for what `name` has LEASED; None if nobody does.

        Requests that arrived after `arrived_by_ns` do not count: an instance that has not heard that it is to leave
        would be waited for as long as work comes in.
        """
        tables = self.segment.tables
        leased = pack(0, name, LEASED)
        found = [
            tables.deadline[index]
            for index, word in enumerate(tables.word.tolist())
            if word & 0xFFFF_FFFF == leased and not tables.cancel[index] and tables.arrival[index] <= arrived_by_ns
        ]
        return max(found, default=None)

    def clear_row(self, name: int) -> None:
        """Frees the row of a dead instance; its counters go into the totals of the gone. Idempotent."""
        row = self._row_of(name)
        if row is None:
            return
        header = self.segment.header
        for k in range(len(INSTANCE_COUNTERS)):
            header[Header.FOLD_TARGET + k] = header[Header.FOLDED + k] + row[InstanceWord.COUNTERS + k]
        reach("fold.targets")
        header[Header.FOLDING] = name  # from here on a successor finishes; before, it begins anew: nothing counts twice
        self._finish_folding()

    def carry(self, figures: Sequence[int]) -> None:
        """What the versions before this one have counted, in the order of a Part. No word ever falls."""
        header = self.segment.header
        for word, value in enumerate(figures, Header.CARRIED):
            if value > header[word]:
                header[word] = value

    def _finish_folding(self) -> None:
        header = self.segment.header
        name = header[Header.FOLDING]
        if not name:
            return
        for k in range(len(INSTANCE_COUNTERS)):
            header[Header.FOLDED + k] = header[Header.FOLD_TARGET + k]
        reach("fold.totals")
        row = self._row_of(name)
        if row is not None:
            row[InstanceWord.IDLE] = 0  # the dead share nothing
            row[InstanceWord.NAME] = 0
        header[Header.FOLDS] += 1
        header[Header.FOLDING] = 0

    def rows(self) -> list[InstanceRow]:
        """The instances that have a row, by name."""
        found = [
            InstanceRow(
                row[InstanceWord.NAME],
                row[InstanceWord.PID],
                row[InstanceWord.START_TICKS],
                row[InstanceWord.GO] == 1,
                row[InstanceWord.SEAT],
                device_name(row[InstanceWord.DEVICE]),
            )
            for row in self._rows()
            if row[InstanceWord.NAME]
        ]
        return sorted(found, key=lambda row: row.name)

    def _rows(self) -> Iterator[memoryview]:
        return map(self.segment.instance_row, range(self.segment.geometry.instance_rows))

    def _row_of(self, name: int) -> memoryview | None:
        return next((row for row in self._rows() if row[InstanceWord.NAME] == name), None)

    def _known_row(self, name: int) -> memoryview:
        row = self._row_of(name)
        if row is None or name == 0:
            raise InternalError(f"no instance of this segment is called {name}")
        return row

    # --- lanes ------------------------------------------------------------------------------------------------------

    def owner_of(self, lane: int) -> LaneRow:
        """Who owns `lane`, dead or alive."""
        row = self.segment.lane_row(lane)
        return LaneRow(row[LaneWord.PID], row[LaneWord.START_TICKS], row[LaneWord.EPOCH])

    def assign(self, lane: int, pid: int, start_ticks: int) -> None:
        """Makes a process the owner of `lane`, which has its pages from here on.

        Raises InternalError unless all its slots are FREE, OutOfMemory if there is no memory for them; then it is as it
        was.
        """
        self._check_free(lane)
        self.segment.allocate_lane(lane)
        row = self.segment.lane_row(lane)
        row[LaneWord.PID] = 0  # killed after this store, the lane is nobody's
        row[LaneWord.START_TICKS] = start_ticks
        row[LaneWord.WAITING] = 0
        row[LaneWord.ORPHANED] = 0
        row[LaneWord.EPOCH] += 1
        reach("assign.half")
        row[LaneWord.PID] = pid

    def vacate(self, lane: int) -> None:
        """`lane` is nobody's, and its pages go back. Of an owner that is dead and swept, or has let go of it.

        Raises InternalError unless all its slots are FREE.
        """
        self._check_free(lane)
        row = self.segment.lane_row(lane)
        row[LaneWord.WAITING] = 0
        # Before the pages: killed in between, the lane is nobody's and a successor gives them back.
        row[LaneWord.PID] = 0
        reach("vacate.half")
        self.segment.free_lane(lane)

    def _check_free(self, lane: int) -> None:
        counts = self._counts(lane)
        if counts.free != counts.total:
            raise InternalError(f"lane {lane} cannot change hands: {counts}")

    def sweep(self, lane: int, dead_name: Callable[[int], bool]) -> int:
        """Frees what a dead owner left in `lane`; how many slots are still left, to be swept again later.

        Only once the owner's pidfd is readable. `dead_name` says whether an instance is known to be dead. Slots LEASED
        by the living are left: they store into them. If the lease stays busy for 0.1 s, all that is in use is left.
        """
        row = self.segment.lane_row(lane)
        # Partner: Batch.sort_out. A hint that spares the computation.
        row[LaneWord.ORPHANED] = 1
        row[LaneWord.WAITING] = 0
        if self._lease.acquire_within(_LEASE_PATIENCE_S):
            try:
                self._sweep(lane, dead_name)
            finally:
                self._lease.release()
        counts = self._counts(lane)
        return counts.total - counts.free

    def _sweep(self, lane: int, dead_name: Callable[[int], bool]) -> None:
        """Caller holds the lease, so that nothing moves out of READY meanwhile."""
        words = self.segment.tables.word
        for index in self._slots(lane):
            word = words[index]
            held_by_the_living = state_of(word) == LEASED and not dead_name(lessee_of(word))
            if state_of(word) != FREE and not held_by_the_living:
                words[index] = pack(generation_of(word) + 1, 0, FREE)
                reach("sweep.slot")

    def _slots(self, lane: int) -> range:
        slots = self.segment.geometry.slots
        return range(lane * slots, (lane + 1) * slots)

    def _counts(self, lane: int) -> LaneStatistics:
        words = self.segment.tables.word
        return LaneStatistics.of(words[index] for index in self._slots(lane))

    def counts(self) -> LaneStatistics:
        """Slots of all lanes by state. Raises InternalError if they do not add up to the slots there are."""
        return LaneStatistics.of(self.segment.tables.word.tolist())

    def close(self) -> None:
        """Closes the lease handle. Idempotent."""
        self._lease.close()
