"""Tickets into slots and replies back to tickets, for one deployment of one process.

What finds no slot stands in line, a ticket and not an item at a time: one request holds at most a window of slots, and
when one of its items is answered it gets in line again as if it had come just now, so that others have their turn. A
request that a closing version refuses goes to the next one;
only when the deployment itself is going is it failed.

Two locks: `_line_lock` for list work, and `_pump_lock` around moving waiters into slots. Neither is held while a reply
is filed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from engine.client.attachment import Attachment
from engine.client.ticket import NO_PROBABILITIES, Flight, ItemAnswer, Ticket
from engine.client.versions import Versions
from engine.clock import NS_PER_S, now_ns
from engine.core.admission import WaitingLine, slot_window
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
        self._line: WaitingLine[Ticket] = WaitingLine(aging_ns)
        self._line_lock = threading.Lock()
        self._pump_lock = threading.RLock()  # a callback of a ticket that fails in here may submit the next one

    @property
    def waiting(self) -> int:
        """Requests that stand in line."""
        return len(self._line)

    # --- in ---------------------------------------------------------------------------------------------------------

    def place(self, ticket: Ticket) -> None:
        """Sends as many items as have room; the rest stands in line."""
        if not self._line and self._send_from(ticket):
            return
        self._stand_in_line(ticket)
        self.pump()

    def pump(self) -> None:
        """Moves waiters into slots, in order, until nobody waits or nothing is free.

        Whoever put somebody in line or freed a slot calls this afterwards: the lock makes the last caller see both.
        """
        if not self._line:
            return
        with self._pump_lock:
            while (ticket := self._next_in_line()) is not None:
                if not self._send_from(ticket):
                    self._stand_in_line(ticket)
                    break
        self._tell_waiting()

    def forget(self, ticket: Ticket) -> None:
        """The ticket is done: it leaves the line, and its slots come home by themselves."""
        for flight in ticket.in_flight:
            flight.attachment.abandon(flight)
        ticket.in_flight.clear()  # they lead to the segment, and would keep it mapped for as long as the ticket lives
        if self._line:
            with self._line_lock:
                if not self._line.discard(ticket):
                    return
            self._tell_waiting()

    def refuse_waiting(self) -> None:
        """Nobody in line will get a slot any more."""
        with self._line_lock:
            waiting = self._line.drain()
        for ticket in waiting:
            ticket.fail(self._versions.refusal())

    def _next_in_line(self) -> Ticket | None:
        with self._line_lock:
            return self._line.take(now_ns())

    def _stand_in_line(self, ticket: Ticket) -> None:
        with self._line_lock:
            if ticket.unsent and ticket not in self._line:
                self._line.put(ticket, level=ticket.level, arrival_ns=ticket.turn_ns)

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

    def _tell_waiting(self) -> None:
        attachment = self._versions.active()
        if attachment is not None:
            attachment.tell_waiting(len(self._line))

    # --- out, in the reactor's thread -------------------------------------------------------------------------------

    def deliver(self, replies: Iterable[SlotReply]) -> None:
        """Files every reply with its ticket, then gives the freed slots to those who wait."""
        for reply in replies:
            flight = reply.ticket.owner
            if isinstance(flight, Flight) and not flight.ticket.done:
                self._file(flight, reply)
        if self._line:
            self.pump()

    def _file(self, flight: Flight, reply: SlotReply) -> None:
        ticket = flight.ticket
        if reply.outcome is not Outcome.REFUSED:
            ticket.land(flight, _answer(ticket.arrival_ns, reply))
            if ticket.unsent and ticket not in self._line:
                ticket.turn_ns = now_ns()
        elif self._versions.is_going:
            ticket.fail(self._versions.refusal())
        else:  # given back uncomputed, for the version that follows
            ticket.turn_back(flight)
        if ticket.unsent:
            self._stand_in_line(ticket)


def _answer(arrival_ns: int, reply: SlotReply) -> ItemAnswer:
    started_ns = reply.started_ns or reply.taken_ns or reply.done_ns or arrival_ns
    return ItemAnswer(
        probabilities=NO_PROBABILITIES if reply.probabilities is None else reply.probabilities,
        batch_size=reply.batch_size,
        queue_s=max(0, started_ns - arrival_ns) / NS_PER_S,
        compute_s=max(0, reply.done_ns - started_ns) / NS_PER_S,
        error=None if reply.outcome is Outcome.OK else _ERRORS.get(reply.outcome, ModelFailed)(reply.error),
    )
