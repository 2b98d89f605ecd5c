"""Tickets into slots and replies back to tickets, for one deployment of one process.

What finds no slot stands in line, a ticket and not an item at a time: one request holds at most a window of slots, and
when one of its items is answered it gets in line again as if it had come just now, so that others have their turn. A
request that a closing version refuses goes to the next one; only when the deployment itself is going is it failed.

No wake-up is lost because a waiter never leaves the line before it has its slot: whoever frees a slot sees it there
and calls `pump`. While one thread pumps, another that calls it leaves word and goes on; the first then looks again.
No lock is held while a reply is filed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from engine.client.attachment import Attachment
from engine.client.line import SharedLine
from engine.client.ticket import NO_PROBABILITIES, Flight, ItemAnswer, Ticket
from engine.client.versions import Versions
from engine.clock import NS_PER_S, now_ns
from engine.core.admission import slot_window
from engine.errors import (
    DeadlineExceeded,
    EngineClosed,
    EngineError,
    InvalidField,
    ModelCrashed,
    ModelFailed,
    NonFiniteOutput,
)
from engine.shm.records import Outcome, SlotReply

_ERRORS: dict[Outcome, type[EngineError]] = {
    Outcome.EXPIRED: DeadlineExceeded,
    Outcome.CANCELLED: DeadlineExceeded,  # only ever of a ticket that is done already, or of a lane taken for dead
    Outcome.NON_FINITE: NonFiniteOutput,
    Outcome.CRASHED: ModelCrashed,
}


class Dispatcher:
    """The way in and the way out. Thread-safe."""

    def __init__(self, versions: Versions, *, aging_ns: int) -> None:
        self._versions = versions
        self._line = SharedLine(versions, aging_ns=aging_ns)
        self._pump_lock = threading.Lock()
        self._look_again = False  # set by whoever has something to pump, taken back under the lock before looking
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Requests that stand in line."""
        return self._line.length

    # --- in ---------------------------------------------------------------------------------------------------------

    def place(self, ticket: Ticket) -> None:
        """Sends as many items as have room; the rest stands in line."""
        if self._line.length or not self._send_from(ticket):
            self._line.settle(ticket)
        if self._line.length:
            self.pump()

    def pump(self) -> None:
        """Moves waiters into slots, in order, until nobody waits or nothing is free.

        To be called after somebody was put in line and after a slot was freed. Also called from within, by the
        callback of a ticket that fails here and submits the next one.
        """
        self._look_again = True
        while self._look_again and self._pump_lock.acquire(blocking=False):
            try:
                self._look_again = False
                self._move()
            finally:
                self._pump_lock.release()

    def _move(self) -> None:
        """Caller holds the pump lock."""
        while not self._stopped and (ticket := self._line.first()) is not None:
            if self._versions.refuses:
                self.refuse_waiting()
                return
            sent = self._send_from(ticket)
            self._line.settle(ticket)
            if not sent:
                return

    def look(self) -> None:
        """Another version may be the active one, the state may be another, or a second has passed."""
        self._line.publish()
        if self._line.length:
            self.pump()

    def forget(self, ticket: Ticket) -> None:
        """The ticket is done: it leaves the line, and its slots come home by themselves."""
        held_slots = bool(ticket.in_flight)
        if held_slots:
            for flight in ticket.in_flight:
                flight.attachment.abandon(flight)
            ticket.in_flight.clear()  # they lead to the segment, and would keep it mapped as long as the ticket lives
        if self._line.length and (held_slots or ticket.has_unsent_items):
            self._line.settle(ticket)
            self.pump()

    def refuse_waiting(self) -> None:
        """Nobody in line will get a slot any more."""
        for ticket in self._line.drain():
            ticket.fail(self._versions.refusal())

    def stop(self) -> None:
        """Nothing is sent any more; whoever waits is answered by whoever stops."""
        self._stopped = True

    def let_go_in_child(self) -> None:
        """In a forked child: whoever held the locks does not exist here."""
        self._stopped = True
        self._pump_lock = threading.Lock()
        self._line.let_go_in_child()

    def _send_from(self, ticket: Ticket) -> bool:
        """True when all of `ticket` that may be in flight is; False when there is no slot for its next item."""
        while (attachment := self._versions.active()) is not None:
            flight = ticket.take_off(attachment, slot_window(attachment.slots))
            if flight is None:
                return True
            if self._has_sent(flight, attachment):
                if len(ticket.answers) == 1:  # nearly every request: no second look
                    return True
            else:
                ticket.turn_back(flight)
                if not attachment.closing:
                    return False
        return not ticket.unsent

    def _has_sent(self, flight: Flight, attachment: Attachment) -> bool:
        """False when there is no slot, or the version has begun to close (and is then marked so)."""
        ticket = flight.ticket
        items = ticket.items
        if not items:
            return True  # done meanwhile: `take_off` will give no more
        item = items[flight.index]
        if not attachment.fits(item.payload.nbytes):
            ticket.fail(InvalidField("the model was replaced by one of another input shape", field="audio_data"))
            return True
        try:
            if not attachment.try_submit(flight, item):
                return False
        except EngineClosed:
            attachment.closing = True
            return False
        if ticket.done:  # between `take_off` and now: whoever finished it could not see the slot
            attachment.abandon(flight)
        return True

    # --- out, in the reactor's thread -------------------------------------------------------------------------------

    def deliver(self, replies: Iterable[SlotReply]) -> None:
        """Files every reply with its ticket, then gives the freed slots to those who wait."""
        for reply in replies:
            flight = reply.ticket.owner
            if isinstance(flight, Flight) and not flight.ticket.done:
                self._file(flight, reply)
        if self._line.length:
            self.pump()

    def _file(self, flight: Flight, reply: SlotReply) -> None:
        ticket = flight.ticket
        if reply.outcome is not Outcome.REFUSED:
            ticket.land(flight, _answer(ticket.arrival_ns, reply))
            if ticket.unsent:
                self._line.settle(ticket, turn_ns=now_ns())
        elif self._versions.is_going:
            ticket.fail(self._versions.refusal())
        else:  # given back uncomputed, for the version that follows
            ticket.turn_back(flight)
            self._line.settle(ticket)


def _answer(arrival_ns: int, reply: SlotReply) -> ItemAnswer:
    started_ns = reply.started_ns or reply.taken_ns or reply.done_ns or arrival_ns
    return ItemAnswer(
        probabilities=NO_PROBABILITIES if reply.probabilities is None else reply.probabilities,
        batch_size=reply.batch_size,
        queue_s=max(0, started_ns - arrival_ns) / NS_PER_S,
        compute_s=max(0, reply.done_ns - started_ns) / NS_PER_S,
        error=None if reply.outcome is Outcome.OK else _ERRORS.get(reply.outcome, ModelFailed)(reply.error),
    )
