"""The instance's side of a segment: take a batch, say that it started, reply.

Invariants: a slot is taken only under the lease; between LEASED and REPLIED it belongs to the instance named in its
word; after the REPLIED word the instance does not touch it. Payloads are read-only: after a death they are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine import crash_points
from engine.clock import now_ns
from engine.crash_points import reach
from engine.errors import InternalError
from engine.shm.batch import Batch, BatchReply, SlotReader
from engine.shm.bell import Bell
from engine.shm.layout import Header
from engine.shm.lease import Lease
from engine.shm.ready import ReadySlots, SlotColumns
from engine.shm.records import Outcome
from engine.shm.segment import Segment
from engine.shm.words import GENERATION_BITS, LEASED, READY, REPLIED, STATE_BITS, pack

__all__ = ["Taker"]

Chooser = Callable[[ReadySlots], list[int]]


class Taker:
    """Permission to take work as instance `name`. Not for several threads at once; it owns none of what it is given."""

    def __init__(
        self, segment: Segment, name: int, lease: Lease, doorbell: Bell, reply_bells: Sequence[Bell]
    ) -> None:
        """`reply_bells[lane]` wakes the owner of `lane`. Raises InternalError unless there is one per lane."""
        geometry = segment.geometry
        if len(reply_bells) != geometry.lanes:
            raise InternalError(f"{len(reply_bells)} reply bells for {geometry.lanes} lanes")
        self.segment = segment
        self.name = name
        self._lease = lease
        self._doorbell = doorbell
        self._reply_bells = reply_bells
        self._tables = segment.tables
        self._leased = pack(0, name, LEASED)
        self._columns = SlotColumns(segment)
        self._reader = SlotReader(segment)
        self._answers = _answer_rows(segment)

    # --- take -------------------------------------------------------------------------------------------------------

    def look(self) -> int:
        """How many slots are READY, as of now; takes no lease. 0 is reason enough to sleep once the doorbell has been
        drained: whoever stores READY after this look rings after it, and the doorbell stays readable until somebody
        drains it, so the sleep is none. READY words from before the drain are seen, whoever rang for them."""
        return int((self._columns.states == READY).nonzero()[0].size)

    def arrived(self, after_ns: int, until_ns: int) -> int:
        """How many of the READY slots have arrived between these moments; takes no lease."""
        arrivals = self._columns.arrivals[(self._columns.states == READY).nonzero()[0]]
        return int(((arrivals > after_ns) & (arrivals <= until_ns)).nonzero()[0].size)

    def tightest_ns(self) -> int:
        """The first deadline of all READY slots; takes no lease. Beyond all of them if there is none."""
        deadlines = self._columns.deadlines[(self._columns.states == READY).nonzero()[0]]
        return int(deadlines.min()) if deadlines.size else 1 << 63

    def take(self, choose: Chooser) -> Batch:
        """Leases one batch out of everything READY; empty if there is nothing, or nothing is chosen.

        `choose` gets the READY slots, at least one, and returns those to take. It runs while all other instances wait:
        no logging, no system call. To be called after the doorbell was drained, at start, and after every batch. Waits
        for the lease if another instance has it. Raises InternalError, and takes nothing, for a choice that is none.
        """
        # Waits instead of sleeping on: the ring that was drained must not be lost with the look it stood for.
        self._lease.acquire()
        try:
            self.segment.header[Header.HOLDER] = self.name
            if crash_points.armed:
                reach("take.lease")
            ready = ReadySlots(self._columns)  # again: what was READY before may have been taken meanwhile
            found = ready.slots.size
            slots = choose(ready) if found else []
            words = self._mark(slots) if slots else []
        finally:
            self.segment.header[Header.HOLDER] = 0
            self._lease.release()
        if crash_points.armed:
            reach("take.leased")
        if found > len(slots):
            self._doorbell.ring()  # work is left: another instance may sleep, its ring drained by this one
        return Batch(self._reader, slots, words, now_ns())

    def _mark(self, slots: list[int]) -> list[int]:
        """Makes the chosen slots LEASED; their words. Caller holds the lease."""
        words, leased, armed = self._tables.word, self._leased, crash_points.armed
        if len(set(slots)) != len(slots):
            raise InternalError(f"chose {slots}, of these one twice")
        marked: list[int] = []
        for slot in slots:
            if not 0 <= slot < len(words) or words[slot] & STATE_BITS != READY:
                raise InternalError(f"chose {slots}, of which {slot} is not READY")
            marked.append(words[slot] & GENERATION_BITS | leased)
        for slot, word in zip(slots, marked):
            # Partner: the frontends' looks for READY under the lease, and LaneOwner.instance_died of this name.
            words[slot] = word
            if armed:
                reach("take.slot")
        return marked

    # --- start ------------------------------------------------------------------------------------------------------

    def start(self, batch: Batch) -> None:
        """To be called just before the device call that contains `batch`: from here on a death counts against it."""
        batch.started_ns = now_ns()
        started, name = self._tables.started, self.name
        for slot in batch.slots:
            # Partner: LaneOwner._inherit, after this process has died. Before the device call, or a payload that kills
            # every process would never be convicted; not earlier, or an innocent one would.
            started[slot] = name
        if crash_points.armed:
            reach("start.marked")

    # --- reply ------------------------------------------------------------------------------------------------------

    def reply(self, replies: Sequence[BatchReply]) -> None:
        """Answers taken slots; they are the frontends' from here on.

        Raises InternalError, before anything is stored, for a slot that is not this instance's or an answer that does
        not fit.
        """
        for reply in replies:
            self._check(reply)
        done_ns = now_ns()
        for reply in replies:
            self._write(reply, done_ns)
        if crash_points.armed:
            reach("reply.written")
        words, armed, lane_slots = self._tables.word, crash_points.armed, self.segment.geometry.slots
        lanes = {}
        for reply in replies:
            for slot, word in zip(reply.batch.slots, reply.batch.words):
                lanes[slot // lane_slots] = True
                # Publishes reply area and result fields. Partner: LaneOwner._replied. Before them, an old answer would
                # reach this request; and the bell comes last, or the frontend would look too early and sleep on.
                words[slot] = word & GENERATION_BITS | REPLIED
                if armed:
                    reach("reply.slot")
        for lane in lanes:
            self._reply_bells[lane].ring()
        if crash_points.armed:
            reach("reply.rung")

    def _check(self, reply: BatchReply) -> None:
        words, batch = self._tables.word, reply.batch
        if [words[slot] for slot in batch.slots] != batch.words:
            raise InternalError(f"of the slots {batch.slots} not all are leased by instance {self.name}")
        if reply.outcome is Outcome.OK:
            shape = None if reply.probabilities is None else reply.probabilities.shape
            if shape != (len(batch.slots), self._answers.shape[1]):
                raise InternalError(f"{len(batch)} replies of shape {shape} for {self._answers.shape[1]} classes")

    def _write(self, reply: BatchReply, done_ns: int) -> None:
        """Reply areas and result fields, by CPU stores. The slots are LEASED by this instance."""
        batch, tables, geometry = reply.batch, self._tables, self.segment.geometry
        if reply.outcome is Outcome.OK:
            self._answers[batch.slots] = reply.probabilities
            size_bytes = geometry.reply_bytes
        else:
            text = reply.error.encode(errors="replace")[: geometry.reply_stride_bytes]
            size_bytes = len(text)
            for slot in batch.slots:
                start = geometry.reply_at(slot)
                self.segment.bytes[start : start + size_bytes] = text
        moments_ns = batch.taken_ns, batch.started_ns, done_ns
        fields = tables.outcome, tables.batch_size, tables.taken, tables.begun, tables.done, tables.reply_size
        for field, value in zip(fields, (int(reply.outcome), reply.batch_size, *moments_ns, size_bytes)):
            for slot in batch.slots:
                field[slot] = value


def _answer_rows(segment: Segment) -> NDArray[np.float32]:
    """The reply areas as probabilities, `[slot_count, classes]`, writable."""
    geometry = segment.geometry
    start, stride_bytes = geometry.reply_at(0), geometry.reply_stride_bytes
    areas = segment.array[start : start + geometry.slot_count * stride_bytes].view(np.float32)
    return areas.reshape(geometry.slot_count, stride_bytes // 4)[:, : geometry.reply_bytes // 4]
