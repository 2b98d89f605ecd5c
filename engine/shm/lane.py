"""The owner's side of one lane: offer, harvest, abandon, and what to do when an instance dies.

Each item comes home at most once: by the reply it leaves the outstanding ones with, or silently once nobody waits for
it. Thread-safe; what the threads share, and their lock, is in `LaneSlots`. The lock is not held while a payload is
copied.

The slot that was freed last is claimed first. Its pages are there, and often in the cache still; going round the ring
would in time touch every page of the lane.
"""

from __future__ import annotations

from engine import crash_points
from engine.clock import NS_PER_S
from engine.crash_points import reach
from engine.errors import EngineClosed, InternalError, InvalidField
from engine.shm.bell import Bell
from engine.shm.item import Asking, Item
from engine.shm.lane_slots import LaneSlots
from engine.shm.layout import REQUEST_ID_BYTES, Header
from engine.shm.lease import Lease
from engine.shm.records import KIND_FLOAT32, KIND_INT16, Outcome
from engine.shm.segment import Segment
from engine.shm.words import FREE, LEASED, READY, REPLIED, WRITING, pack

_OUTCOMES = tuple(Outcome)
_CALLER_MASK = (1 << 64) - 1
_INT16_BYTES = 2


class LaneOwner(LaneSlots):
    """Permission to offer work in one lane. There is one per lane and process; it owns none of what it is given."""

    def __init__(self, segment: Segment, lane: int, lease: Lease, doorbell: Bell, reply_bell: Bell) -> None:
        """Raises InternalError if a slot of the lane is not FREE: it was handed over too early."""
        super().__init__(segment, lane, lease)
        geometry = segment.geometry
        self._doorbell = doorbell
        self._reply_bell = reply_bell
        self._header = segment.header
        self._bytes = segment.bytes
        self._payload_bytes = geometry.payload_bytes
        # By the slot: where its payload and its request id begin.
        self._places = {k: (geometry.payload_at(k), geometry.request_id_at(k)) for k in self._slots}

    # --- offer ------------------------------------------------------------------------------------------------------

    def offer(self, item: Item) -> bool:
        """Copies `item` into a slot and offers it to the instances; False if no slot is free.

        True, and nothing done, for an item that nobody waits for. Raises EngineClosed once the segment is closing or
        was let go of, InvalidField for a payload that does not fit a slot.
        """
        payload, asking = item.payload, item.ticket  # in this order: whoever gives up clears `ticket` first
        if asking is None:
            return True
        body = self._body(payload)
        if not self._claim(item):
            return False
        is_ready = False
        try:
            if crash_points.armed:
                reach("submit.writing")
            self._fill(item, asking, payload.itemsize == _INT16_BYTES, body)
            with self._lock:
                self._publish(item)
                is_ready = True
            if crash_points.armed:
                reach("submit.ready")
            # Always: to ask first whether anybody sleeps would need a fence, which Python lacks.
            self._doorbell.ring()
        finally:
            if not is_ready:
                self._take_back(item)
            self._inside.pop()  # as `leave` does
            if self._closed:
                self._look_unused()
        return True

    def _claim(self, item: Item) -> bool:
        """The next free slot is WRITING, and the mapping kept until `leave`; False if there is none."""
        with self._lock:
            if self._closed or self._header[Header.CLOSING]:
                raise EngineClosed()
            if not self._free:
                return False
            self._inside.append(None)
            item.slot = self._free.pop()
            word = self._words[item.slot]
            item.generation = word >> 32
            self._words[item.slot] = word | WRITING  # it was FREE in its generation
            return True

    def _publish(self, item: Item) -> None:
        """Makes a filled slot READY. Caller holds the local lock."""
        if self._closed or self._header[Header.CLOSING]:
            raise EngineClosed()
        self._outstanding[item.slot] = item
        item.lane = self
        # Publishes payload and header fields. Partner: the look of Taker.take under the lease. Were this word visible
        # before the fields, an instance would compute the previous request's payload.
        self._words[item.slot] = item.generation << 32 | READY

    def _body(self, payload: object) -> memoryview:
        """The bytes of `payload`. Raises InvalidField for what does not fit a slot."""
        try:
            body = memoryview(payload).cast("B")  # type: ignore[arg-type]
        except TypeError as error:
            raise InvalidField(f"payload is not contiguous memory: {error}", field="payload") from error
        if not 0 < len(body) <= self._payload_bytes:
            text = f"payload has {len(body)} bytes, a slot takes 1 to {self._payload_bytes}"
            raise InvalidField(text, field="payload")
        return body

    def _fill(self, item: Item, asking: Asking, is_int16: bool, body: memoryview) -> None:
        """Everything but the word. Takes no lock: a WRITING slot is nobody else's."""
        index, tables = item.slot, self._tables
        payload_at, id_at = self._places[index]
        self._bytes[payload_at : payload_at + len(body)] = body
        request_id = asking.request_id.encode(errors="replace")[:REQUEST_ID_BYTES].ljust(REQUEST_ID_BYTES, b"\0")
        self._bytes[id_at : id_at + REQUEST_ID_BYTES] = request_id
        tables.caller[index] = asking.caller_hash & _CALLER_MASK
        tables.level[index] = asking.level + 1
        tables.arrival[index] = asking.turn_ns
        tables.deadline[index] = asking.deadline_ns
        tables.kind[index] = KIND_INT16 if is_int16 else KIND_FLOAT32
        tables.payload_size[index] = len(body)
        tables.gain[index] = item.gain
        tables.attempt[index] = 0
        tables.isolate[index] = 0
        tables.cancel[index] = 0
        tables.started[index] = 0

    def _take_back(self, item: Item) -> None:
        """Undoes an offer that raised, perhaps from a signal handler and therefore anywhere."""
        index, generation = item.slot, item.generation
        with self._lock:
            if self._words[index] == pack(generation, 0, WRITING):
                self._words[index] = pack(generation + 1, 0, FREE)
                self._outstanding.pop(index, None)
                self._free.append(index)
                item.lane = None
                return
        self.abandon(item)  # READY already, so no longer ours to free

    # --- harvest ----------------------------------------------------------------------------------------------------

    def harvest(self) -> list[Item]:
        """The items that were answered; not those that nobody waits for, whose slots return silently.

        Tries again what `abandon` could not do because the lease was busy. To be called at every event.
        """
        # Drain first, then look: a reply stored after the look rings after the drain.
        self._reply_bell.drain()
        with self._lock:
            home = self._replied()
            if self._withdrawals:
                self._withdraw()
        return home

    def _replied(self) -> list[Item]:
        """Brings REPLIED slots home, with what somebody waits for read. Caller holds the local lock."""
        home: list[Item] = []
        words = self._words
        for item in tuple(self._outstanding.values()):
            word = words[item.slot]
            if word & 0xFF != REPLIED:
                continue
            if word >> 32 != item.generation:
                raise InternalError(f"slot {item.slot}: word {word:#x} answers generation {item.generation}")
            asking = item.ticket
            if asking is not None:
                self._read_reply(item, asking.arrival_ns)
                home.append(item)
            if crash_points.armed:
                reach("harvest.copied")
            self._free_slot(item)
        return home

    def _read_reply(self, item: Item, arrival_ns: int) -> None:
        """Copies a reply out. The REPLIED word has been seen; caller holds the local lock."""
        index, tables = item.slot, self._tables
        outcome = tables.outcome[index]
        done_ns = tables.done[index]
        started_ns = tables.begun[index] or tables.taken[index] or done_ns or arrival_ns
        item.batch_size = tables.batch_size[index]
        item.queue_s = max(0, started_ns - arrival_ns) / NS_PER_S
        item.compute_s = max(0, done_ns - started_ns) / NS_PER_S
        if outcome == Outcome.OK:
            item.probabilities = self._replies[index].copy()
            return
        text_at = self.segment.geometry.reply_at(index)
        text = bytes(self._bytes[text_at : text_at + tables.reply_size[index]])
        item.fail(_OUTCOMES[outcome], text.decode(errors="replace"))

    # --- death ------------------------------------------------------------------------------------------------------

    def instance_died(self, name: int, *, alive: int) -> list[Item]:
        """What the death of instance `name` brings: replies it left, verdicts, refusals. The rest is offered again.

        Only once its pidfd is readable, or the supervisor's list says that it is dead. `alive`: instances left.
        """
        with self._lock:
            home = self._replied()
            leased_by_the_dead = pack(0, name, LEASED)
            for item in tuple(self._outstanding.values()):
                if self._words[item.slot] & 0xFFFF_FFFF == leased_by_the_dead:
                    if self._inherit(item, name):
                        home.append(item)
                    reach("death.slot")
            if self._header[Header.CLOSING] and alive == 0:
                home += self._refuse()
            if self._outstanding:
                # Even if nothing was offered again: the dead may have drained the doorbell and taken nothing.
                self._doorbell.ring()
            return home

    def _inherit(self, item: Item, name: int) -> bool:
        """Decides on a slot LEASED by the dead `name`; True for the verdict. Caller holds the local lock."""
        index, tables = item.slot, self._tables
        # A death that was ordered says nothing about the work: only an instance that died of itself counts against it.
        started = tables.started[index] == name and not self.segment.was_ordered(name)
        if item.ticket is None:
            self._free_slot(item)
        elif started and tables.attempt[index] == 1:
            self._free_slot(item)
            item.fail(Outcome.CRASHED, "two model processes died while they worked on this")
            return True
        else:
            if started:
                tables.isolate[index] = 1
                tables.attempt[index] = 1
            # Publishes `isolate`. Partner: the look of Taker.take. The other way round a second batch would share the
            # fate of this one. No lease: the dead cannot take or reply, and others do not touch a LEASED slot.
            self._words[index] = pack(item.generation, 0, READY)
        return False

    def refuse_ready(self) -> list[Item]:
        """Answers everything outstanding when the segment is closing and no instance is left.

        Raises InternalError while the segment is not closing: a new instance could take what is refused here.
        """
        with self._lock:
            if not self.segment.closing:
                raise InternalError("only a closing segment refuses what waits in it")
            return [*self._replied(), *self._refuse()]

    def _refuse(self) -> list[Item]:
        """Frees READY and LEASED slots. No instance is left; caller holds the local lock."""
        refused = [item for item in self._outstanding.values() if item.ticket is not None]
        with self._lease:
            for item in tuple(self._outstanding.values()):
                self._free_slot(item)
        for item in refused:
            item.fail(Outcome.REFUSED, "the engine is shutting down")
        return refused
