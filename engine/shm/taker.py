"""The instance's side of a segment: take a batch, say that it started, reply.

Invariants: a slot is taken only under the lease; between LEASED and REPLIED it belongs to the instance named in its
word; after the REPLIED word the instance does not touch it. Payloads are read-only: after a death they are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.clock import now_ns
from engine.core.batching import Candidate
from engine.crash_points import reach
from engine.errors import InternalError
from engine.shm.bell import Bell
from engine.shm.layout import REQUEST_ID_BYTES, Header, LaneWord
from engine.shm.lease import Lease
from engine.shm.records import KIND_INT16, Outcome
from engine.shm.segment import Segment
from engine.shm.words import LEASED, READY, REPLIED, WORD_BYTES, generation_of, pack

__all__ = ["Candidate", "Outcome", "SlotResult", "TakenSlot", "Taker"]

_WORTH_LOOKING_AT = 128  # arbitrary; below it, sorting out the oldest costs more than it saves


class TakenSlot:
    """A slot leased by this instance, until it is replied to."""

    __slots__ = (
        "_taker", "index", "lane", "generation", "int16", "gain", "deadline_ns", "arrival_ns", "isolate", "taken_ns",
        "started_ns",
    )  # fmt: skip

    def __init__(self, taker: Taker, index: int, *, taken_ns: int) -> None:
        """Reads the header of a slot that was just LEASED."""
        tables = taker.segment.tables
        self._taker = taker
        self.index = index
        self.lane = index // taker.segment.geometry.slots
        self.generation = generation_of(tables.word[index])
        self.int16 = tables.kind[index] == KIND_INT16
        self.gain: float = tables.gain[index]
        self.deadline_ns: int = tables.deadline[index]
        self.arrival_ns: int = tables.arrival[index]
        self.isolate = tables.isolate[index] == 1
        self.taken_ns = taken_ns
        self.started_ns = 0  # set by Taker.start

    @property
    def payload(self) -> NDArray[np.uint8]:
        """The payload's bytes, read-only and in place. It keeps the mapping alive; it is void after the reply."""
        segment = self._taker.segment
        start = segment.geometry.payload_at(self.index)
        return self._taker.payload_bytes[start : start + segment.tables.payload_size[self.index]]

    @property
    def request_id(self) -> str:
        """At most 128 bytes of it."""
        start = self._taker.segment.geometry.request_id_at(self.index)
        text = bytes(self._taker.segment.bytes[start : start + REQUEST_ID_BYTES])
        return text.rstrip(b"\0").decode(errors="replace")

    @property
    def caller_hash(self) -> int:
        """Who asked, as 64 bits."""
        return int(self._taker.segment.tables.caller[self.index])

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone, as of now."""
        return bool(self._taker.segment.tables.cancel[self.index])

    @property
    def frontend_dead(self) -> bool:
        """Whether the supervisor has seen the death of the frontend that this slot belongs to, as of now."""
        return bool(self._taker.lane_rows[self.lane][LaneWord.ORPHANED])


class SlotResult(NamedTuple):
    """What to reply for one taken slot."""

    slot: TakenSlot
    outcome: Outcome
    probabilities: NDArray[np.float32] | None  # [classes]; for OK only
    error: str = ""  # what of it fits into the reply area travels
    batch_size: int = 0


class Taker:
    """Permission to take work as instance `name`. Not for several threads at once; it owns none of what it is given."""

    def __init__(
        self,
        segment: Segment,
        name: int,
        lease: Lease,
        doorbell: Bell,
        reply_bells: Sequence[Bell],
        *,
        max_batch: int = 1024,
    ) -> None:
        """`reply_bells[lane]` wakes the owner of `lane`; no choice is larger than `max_batch`.

        Raises InternalError unless there is one reply bell per lane.
        """
        geometry = segment.geometry
        if len(reply_bells) != geometry.lanes:
            raise InternalError(f"{len(reply_bells)} reply bells for {geometry.lanes} lanes")
        self.segment = segment
        self.name = name
        self.lane_rows = [segment.lane_row(lane) for lane in range(geometry.lanes)]
        self._lease = lease
        self._doorbell = doorbell
        self._reply_bells = reply_bells
        self._most_of_a_level = max(max_batch, _WORTH_LOOKING_AT)
        whole = segment.array
        self._floats = whole.view(np.float32)
        self.payload_bytes = whole.view()
        self.payload_bytes.flags.writeable = False
        # The low byte of every slot word: the state. One byte of an aligned word is never torn.
        self._states = self._table(whole, "word")[::WORD_BYTES]
        self._levels = self._table(whole, "level").view(np.uint64)
        self._arrivals = self._table(whole, "arrival").view(np.uint64)

    def _table(self, whole: NDArray[np.uint8], field: str) -> NDArray[np.uint8]:
        start = self.segment.geometry.table_at(field)
        return whole[start : start + WORD_BYTES * self.segment.geometry.slot_count]

    def take(self, choose: Callable[[list[Candidate]], list[int]]) -> list[TakenSlot]:
        """Leases one batch out of everything READY; empty if there is nothing.

        `choose` gets the READY slots, at least one, and returns `Candidate.slot` of those to take. Where very many are
        READY it gets the oldest of each level, as many as a batch can need. It runs while all other instances wait: no
        logging, no system call. To be called after the doorbell was drained, at start, and after every batch. Waits
        for the lease if another instance has it.
        """
        # Waits instead of sleeping on: the ring that was drained must not be lost with the look it stood for.
        self._lease.acquire()
        try:
            self.segment.header[Header.HOLDER] = self.name
            reach("take.lease")
            ready = (self._states == READY).nonzero()[0]
            chosen = self._lease_slots(self._oldest(ready), choose) if ready.size else []
        finally:
            self.segment.header[Header.HOLDER] = 0
            self._lease.release()
        reach("take.leased")
        if ready.size > len(chosen):
            self._doorbell.ring()  # work is left: another instance may sleep, its ring drained by this one
        taken_ns = now_ns()
        return [TakenSlot(self, index, taken_ns=taken_ns) for index in chosen]

    def _oldest(self, ready: NDArray[np.intp]) -> list[int]:
        """The slots worth looking at one by one, which costs 0.5 us each under the lease. Caller holds the lease."""
        kept: list[int] = []
        if ready.size <= self._most_of_a_level:
            kept += ready.tolist()
            return kept
        levels = self._levels[ready]
        for level in range(3):
            slots = ready[levels == level]
            if slots.size > self._most_of_a_level:
                slots = slots[np.argpartition(self._arrivals[slots], self._most_of_a_level)[: self._most_of_a_level]]
            kept += slots.tolist()
        return kept

    def _lease_slots(self, ready: list[int], choose: Callable[[list[Candidate]], list[int]]) -> list[int]:
        """Marks the chosen slots. Caller holds the lease."""
        tables, words = self.segment.tables, self.segment.tables.word
        level, arrival, kind, isolate = tables.level, tables.arrival, tables.kind, tables.isolate
        # Partner of these loads: the READY store of LaneOwner._publish and _inherit, which comes after the fields.
        candidates = [Candidate(i, level[i] - 1, arrival[i], kind[i], isolate[i] == 1) for i in ready]
        chosen = choose(candidates)
        if len(set(chosen)) != len(chosen) or not set(chosen) <= set(ready):
            raise InternalError(f"chose {chosen} out of {ready}")
        for index in chosen:
            # Partner: the frontends' looks for READY under the lease, and LaneOwner.instance_died of this name.
            words[index] = pack(generation_of(words[index]), self.name, LEASED)
            reach("take.slot")
        return chosen

    def start(self, slots: Sequence[TakenSlot]) -> None:
        """To be called just before the device call that contains `slots`: from here on a death counts against them."""
        started_ns = now_ns()
        for slot in slots:
            # Partner: LaneOwner._inherit, after this process has died. Before the device call, or a payload that kills
            # every process would never be convicted; not earlier, or an innocent one would.
            self.segment.tables.started[slot.index] = self.name
            slot.started_ns = started_ns
        reach("start.marked")

    def reply(self, results: Sequence[SlotResult]) -> None:
        """Answers taken slots; they are the frontends' from here on.

        Raises InternalError, before anything is stored, for a slot that is not this instance's or an answer that does
        not fit.
        """
        for result in results:
            self._check(result)
        done_ns = now_ns()
        for result in results:
            self._write(result, done_ns)
        reach("reply.written")
        words = self.segment.tables.word
        for result in results:
            # Publishes reply area and result fields. Partner: LaneOwner._replied. Before them, an old answer would
            # reach this request; and the bell comes last, or the frontend would look too early and sleep on.
            words[result.slot.index] = pack(result.slot.generation, 0, REPLIED)
            reach("reply.slot")
        for lane in dict.fromkeys(result.slot.lane for result in results):
            self._reply_bells[lane].ring()
        reach("reply.rung")

    def _check(self, result: SlotResult) -> None:
        slot, probabilities = result.slot, result.probabilities
        if self.segment.tables.word[slot.index] != pack(slot.generation, self.name, LEASED):
            raise InternalError(f"slot {slot.index} is not leased by instance {self.name}")
        if result.outcome is Outcome.OK:
            if probabilities is None or 4 * probabilities.size != self.segment.geometry.reply_bytes:
                shape = None if probabilities is None else probabilities.shape
                raise InternalError(f"a reply of shape {shape} for {self.segment.geometry.reply_bytes // 4} classes")

    def _write(self, result: SlotResult, done_ns: int) -> None:
        """Reply area and result fields, by CPU stores. The slot is LEASED by this instance."""
        slot, tables, geometry = result.slot, self.segment.tables, self.segment.geometry
        index, start = slot.index, geometry.reply_at(slot.index)
        if result.outcome is Outcome.OK and result.probabilities is not None:
            size = geometry.reply_bytes
            self._floats[start // 4 : (start + size) // 4] = result.probabilities
        else:
            text = result.error.encode(errors="replace")[: geometry.reply_stride_bytes]
            size = len(text)
            self.segment.bytes[start : start + size] = text
        tables.outcome[index] = result.outcome
        tables.batch_size[index] = result.batch_size
        tables.taken[index] = slot.taken_ns
        tables.begun[index] = slot.started_ns
        tables.done[index] = done_ns
        tables.reply_size[index] = size
