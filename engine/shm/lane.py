"""The owner's side of one lane: submit, harvest, abandon, and what to do when an instance dies.

A lane is a ring of slots which its owner claims in turn, skipping those still busy. Invariants:

- `_free` and `_outstanding` together name every slot of the lane once, but for slots that a thread is just filling;
- a slot leaves READY only under the lease; a slot LEASED by the living is left to them;
- each ticket is answered at most once: by the reply it leaves `_outstanding` with, or by whoever abandoned it.

Thread-safe by one local lock, which is held for list work only, never while a payload is copied. The lease is taken
inside it, never the other way round.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import numpy as np

from engine.crash_points import reach
from engine.errors import EngineClosed, InternalError, InvalidField
from engine.shm.bell import Bell
from engine.shm.layout import REQUEST_ID_BYTES, LaneWord
from engine.shm.lease import Lease
from engine.shm.records import (
    KIND_FLOAT32,
    KIND_INT16,
    LaneStatistics,
    Outcome,
    SlotReply,
    SlotRequest,
    SlotTicket,
)
from engine.shm.segment import Segment
from engine.shm.words import FREE, LEASED, READY, REPLIED, WRITING, generation_of, lessee_of, pack, state_of

__all__ = ["LaneOwner", "LaneStatistics", "Outcome", "SlotReply", "SlotRequest", "SlotTicket"]

_OUTCOMES = tuple(Outcome)
_CALLER_MASK = (1 << 64) - 1


class LaneOwner:
    """Permission to submit into one lane. There is one per lane and process; it owns none of what it is given."""

    def __init__(self, segment: Segment, lane: int, lease: Lease, doorbell: Bell, reply_bell: Bell) -> None:
        """Raises InternalError if a slot of the lane is not FREE: it was handed over too early."""
        geometry = segment.geometry
        self.segment = segment
        self.lane = lane
        self._lease = lease
        self._doorbell = doorbell
        self._reply_bell = reply_bell
        self._tables = segment.tables
        self._words = segment.tables.word
        self._bytes = segment.bytes
        self._row = segment.lane_row(lane)
        self._floats = segment.array.view(np.float32)
        self._slots = range(lane * geometry.slots, (lane + 1) * geometry.slots)
        self._lock = threading.Lock()
        self._free: deque[int] = deque(self._slots)
        self._outstanding: dict[int, SlotTicket] = {}
        self._withdrawals: list[SlotTicket] = []
        if self.statistics().free != geometry.slots:
            raise InternalError(f"lane {lane} was handed over with slots in use: {self.statistics()}")

    # --- submit -----------------------------------------------------------------------------------------------------

    def try_submit(self, request: SlotRequest, owner: object) -> SlotTicket | None:
        """Copies the request into a slot and offers it to the instances; None if no slot is free.

        Raises EngineClosed once the segment is closing, InvalidField for a payload that does not fit a slot.
        """
        payload = _payload_bytes(request.payload, limit_bytes=self.segment.geometry.payload_bytes)
        with self._lock:
            if self.segment.closing:
                raise EngineClosed()
            if not self._free:
                return None
            index = self._free.popleft()
            generation = generation_of(self._words[index])
            self._words[index] = pack(generation, 0, WRITING)
        ticket = None
        try:
            reach("submit.writing")
            self._fill(index, request, payload)
            with self._lock:
                ticket = self._publish(index, generation, owner)
        finally:
            if ticket is None:
                self._take_back(index, generation)
        reach("submit.ready")
        # Always: to ask first whether anybody sleeps would need a fence, which Python lacks.
        self._doorbell.ring()
        return ticket

    def _fill(self, index: int, request: SlotRequest, payload: memoryview) -> None:
        """Everything but the word. Takes no lock: a WRITING slot is nobody else's."""
        tables, geometry = self._tables, self.segment.geometry
        payload_at = geometry.payload_at(index)
        self._bytes[payload_at : payload_at + len(payload)] = payload
        id_at = geometry.request_id_at(index)
        request_id = request.request_id.encode(errors="replace")[:REQUEST_ID_BYTES].ljust(REQUEST_ID_BYTES, b"\0")
        self._bytes[id_at : id_at + REQUEST_ID_BYTES] = request_id
        tables.caller[index] = request.caller_hash & _CALLER_MASK
        tables.level[index] = request.level + 1
        tables.arrival[index] = request.arrival_ns
        tables.deadline[index] = request.deadline_ns
        tables.kind[index] = KIND_INT16 if request.int16 else KIND_FLOAT32
        tables.payload_size[index] = len(payload)
        tables.gain[index] = request.gain
        tables.attempt[index] = 0
        tables.isolate[index] = 0
        tables.cancel[index] = 0
        tables.started[index] = 0

    def _publish(self, index: int, generation: int, owner: object) -> SlotTicket:
        """Makes a filled slot READY. Caller holds the local lock."""
        if self.segment.closing:
            raise EngineClosed()
        ticket = self._outstanding[index] = SlotTicket(index, generation, owner)
        # Publishes payload and header fields. Partner: the look of Taker.take under the lease. Were this word visible
        # before the fields, an instance would compute the previous request's payload.
        self._words[index] = pack(generation, 0, READY)
        return ticket

    def _take_back(self, index: int, generation: int) -> None:
        """Undoes a submission that raised, perhaps from a signal handler and therefore anywhere."""
        with self._lock:
            ticket = self._outstanding.get(index)
            if self._words[index] == pack(generation, 0, WRITING):
                self._words[index] = pack(generation + 1, 0, FREE)
                self._outstanding.pop(index, None)
                self._free.append(index)
                return
        if ticket is not None:  # READY already, so no longer ours to free
            self.abandon(ticket)

    # --- harvest ----------------------------------------------------------------------------------------------------

    def harvest(self) -> list[SlotReply]:
        """The replies that have arrived. Those to abandoned tickets are not among them, their slots return silent."""
        # Drain first, then look: a reply stored after the look rings after the drain.
        self._reply_bell.drain()
        with self._lock:
            return list(self._replied())

    def _replied(self) -> Iterator[SlotReply]:
        """Brings REPLIED slots home, yields those somebody waits for. Caller holds the local lock."""
        words = self._words
        for ticket in list(self._outstanding.values()):
            word = words[ticket.index]
            if word & 0xFF != REPLIED:
                continue
            if generation_of(word) != ticket.generation:
                raise InternalError(f"slot {ticket.index}: word {word:#x} answers generation {ticket.generation}")
            reply = None if ticket.abandoned else self._read_reply(ticket)
            reach("harvest.copied")
            self._free_slot(ticket)
            if reply is not None:
                yield reply

    def _read_reply(self, ticket: SlotTicket) -> SlotReply:
        """Copies a reply out. The REPLIED word has been seen; caller holds the local lock."""
        index, tables = ticket.index, self._tables
        outcome = _OUTCOMES[tables.outcome[index]]
        reply_at, size = self.segment.geometry.reply_at(index), tables.reply_size[index]
        probabilities, error = None, ""
        if outcome is Outcome.OK:
            probabilities = self._floats[reply_at // 4 : (reply_at + size) // 4].copy()
        else:
            error = bytes(self._bytes[reply_at : reply_at + size]).decode(errors="replace")
        return SlotReply(
            ticket,
            outcome,
            probabilities,
            error,
            tables.batch_size[index],
            tables.taken[index],
            tables.begun[index],
            tables.done[index],
        )

    def _free_slot(self, ticket: SlotTicket) -> None:
        """The end of a ticket: its slot is FREE in the next generation. Caller holds the local lock.

        Only for a slot that is the owner's to free: REPLIED, LEASED by the dead, or READY and the lease held.
        """
        self._words[ticket.index] = pack(ticket.generation + 1, 0, FREE)
        del self._outstanding[ticket.index]
        self._free.append(ticket.index)

    # --- cancel and expire --------------------------------------------------------------------------------------------

    def abandon(self, ticket: SlotTicket) -> None:
        """Nobody waits for this ticket any more. Its slot comes home at once if no instance has taken it and the lease
        is free, else by itself: by `retry_withdrawals`, by its reply, or by the instance's death. Idempotent."""
        self.abandon_slot(ticket.index, ticket.generation)

    def abandon_slot(self, index: int, generation: int) -> None:
        """`abandon` for the ticket of that slot and generation; nothing if it has ended."""
        with self._lock:
            ticket = self._outstanding.get(index)
            if ticket is None or ticket.generation != generation or ticket.abandoned:
                return
            ticket.abandoned = True
            # A hint that spares the computation. Partner: TakenSlot.cancelled.
            self._tables.cancel[ticket.index] = 1
            self._withdrawals.append(ticket)
            self._withdraw()

    def retry_withdrawals(self) -> None:
        """Tries again what `abandon` could not do because the lease was busy. To be called at every event."""
        if self._withdrawals:
            with self._lock:
                self._withdraw()

    def _withdraw(self) -> None:
        """Frees abandoned READY slots if the lease can be had at once. Caller holds the local lock."""
        self._withdrawals = [ticket for ticket in self._withdrawals if self._is_ready(ticket)]
        if not self._withdrawals or not self._lease.try_acquire():
            return
        try:
            reach("abandon.lease")
            for ticket in self._withdrawals:
                if self._is_ready(ticket):  # an instance may have taken it before the lease was ours
                    self._free_slot(ticket)
        finally:
            self._lease.release()
        self._withdrawals.clear()

    def _is_ready(self, ticket: SlotTicket) -> bool:
        """Once no longer READY an abandoned slot never is again. Caller holds the local lock."""
        return self._outstanding.get(ticket.index) is ticket and state_of(self._words[ticket.index]) == READY

    # --- death ------------------------------------------------------------------------------------------------------

    def instance_died(self, name: int, *, alive: int) -> list[SlotReply]:
        """What the death of instance `name` brings: replies it left, verdicts, refusals. The rest is offered again.

        Only once its pidfd is readable, or the supervisor's list says that it is dead. `alive`: instances left.
        """
        with self._lock:
            replies = list(self._replied())
            leased_by_the_dead = pack(0, name, LEASED)
            for ticket in list(self._outstanding.values()):
                if self._words[ticket.index] & 0xFFFF_FFFF == leased_by_the_dead:
                    replies += self._inherit(ticket, name)
                    reach("death.slot")
            if self.segment.closing and alive == 0:
                replies += self._refuse()
            if self._outstanding:
                # Even if nothing was offered again: the dead may have drained the doorbell and taken nothing.
                self._doorbell.ring()
            return replies

    def _inherit(self, ticket: SlotTicket, name: int) -> Iterator[SlotReply]:
        """Decides on a slot LEASED by the dead `name`. Caller holds the local lock."""
        index, tables = ticket.index, self._tables
        # A death that was ordered says nothing about the work: only an instance that died of itself counts against it.
        started = tables.started[index] == name and not self.segment.was_ordered(name)
        if ticket.abandoned:
            self._free_slot(ticket)
        elif started and tables.attempt[index] == 1:
            self._free_slot(ticket)
            yield SlotReply(ticket, Outcome.CRASHED, None, "two model processes died while they worked on this")
        else:
            if started:
                tables.isolate[index] = 1
                tables.attempt[index] = 1
            # Publishes `isolate`. Partner: the look of Taker.take. The other way round a second batch would share the
            # fate of this one. No lease: the dead cannot take or reply, and others do not touch a LEASED slot.
            self._words[index] = pack(ticket.generation, 0, READY)

    def refuse_ready(self) -> list[SlotReply]:
        """Answers everything outstanding when the segment is closing and no instance is left.

        Raises InternalError while the segment is not closing: a new instance could take what is refused here.
        """
        with self._lock:
            if not self.segment.closing:
                raise InternalError("only a closing segment refuses what waits in it")
            return [*self._replied(), *self._refuse()]

    def _refuse(self) -> Iterator[SlotReply]:
        """Frees READY and LEASED slots. No instance is left; caller holds the local lock."""
        with self._lease:
            for ticket in list(self._outstanding.values()):
                self._free_slot(ticket)
                if not ticket.abandoned:
                    yield SlotReply(ticket, Outcome.REFUSED, None, "the engine is shutting down")

    # --- figures ----------------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """Tickets whose slots are not home yet, abandoned ones included."""
        return len(self._outstanding)

    @property
    def free(self) -> int:
        """Slots that `try_submit` could claim now."""
        return len(self._free)

    @property
    def withdrawals_pending(self) -> bool:
        """Whether `retry_withdrawals` has something to do."""
        return bool(self._withdrawals)

    def lessees(self) -> set[int]:
        """Names of the instances that hold slots of this lane."""
        with self._lock:
            words = [self._words[index] for index in self._outstanding]
        return {lessee_of(word) for word in words if state_of(word) == LEASED}

    @property
    def waiting_gauge(self) -> int:
        """How many requests wait in this process for a free slot, as all processes see it."""
        return int(self._row[LaneWord.WAITING])

    @waiting_gauge.setter
    def waiting_gauge(self, value: int) -> None:
        self._row[LaneWord.WAITING] = value

    def close(self) -> None:
        """Lets go of the segment, so that it can be unmapped; the slots belong to whoever the lane goes to."""
        self._floats = np.empty(0, np.float32)

    def statistics(self) -> LaneStatistics:
        """Slots of this lane by state. Raises InternalError for a state that does not exist."""
        return count_states([self._words[index] for index in self._slots])


def count_states(words: list[int]) -> LaneStatistics:
    """How many of `words` are in which state. Raises InternalError for a state that does not exist."""
    counts = [0, 0, 0, 0, 0]
    for word in words:
        if state_of(word) > REPLIED:
            raise InternalError(f"slot word {word:#x} has no valid state")
        counts[state_of(word)] += 1
    return LaneStatistics(*counts)


def _payload_bytes(payload: object, *, limit_bytes: int) -> memoryview:
    try:
        view = memoryview(payload).cast("B")  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidField(f"payload is not contiguous memory: {error}", field="payload") from error
    if not 0 < len(view) <= limit_bytes:
        raise InvalidField(f"payload has {len(view)} bytes, a slot takes 1 to {limit_bytes}", field="payload")
    return view
