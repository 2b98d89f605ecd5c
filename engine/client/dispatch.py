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

from engine.client.line import SharedLine
from engine.client.ticket import Ticket
from engine.client.versions import Versions
from engine.clock import now_ns
from engine.errors import EngineClosed, InvalidField
from engine.shm.item import Item
from engine.shm.records import Outcome


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
        """The ticket is done, unanswered: it leaves the line, and its slots come home by themselves."""
        for item in ticket.items:
            lane = item.lane
            if lane is not None:
                lane.abandon(item)
        if self._line.length:
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
        while (attachment := self._versions.active) is not None:
            item = ticket.take_off(attachment.window, attachment.description)
            if item is None:
                return True
            try:
                has_slot = attachment.owner.offer(item)
            except EngineClosed:
                self._versions.stop_taking(attachment)
                ticket.turn_back(item)
                continue
            except InvalidField:  # it was checked, but for another version
                text = "the model was replaced by one of another input shape"
                ticket.fail(InvalidField(text, field="audio_data"))
                return True
            if not has_slot:
                ticket.turn_back(item)
                return False
            if ticket.done:  # between `take_off` and now: whoever finished it could not see the slot
                attachment.owner.abandon(item)
            elif not ticket.to_send:  # nearly every request: no second look
                return True
        return not ticket.to_send or ticket.done

    # --- out, in the reactor's thread -------------------------------------------------------------------------------

    def deliver(self, home: Iterable[Item]) -> None:
        """Files every item that has come home with its ticket, then gives the freed slots to those who wait."""
        now = now_ns()
        for item in home:
            ticket = item.ticket
            if not isinstance(ticket, Ticket):
                continue  # nobody waits for it any more
            if item.outcome is Outcome.REFUSED:
                self._give_back(item, ticket)
                continue
            ticket.land(item, now)
            if ticket.to_send and not ticket.done:
                self._line.settle(ticket, turn_ns=now)
        if self._line.length:
            self.pump()

    def _give_back(self, item: Item, ticket: Ticket) -> None:
        """`item` was refused uncomputed: it is for the version that follows, if one does."""
        if self._versions.is_going:
            ticket.fail(self._versions.refusal())
            return
        item.outcome, item.error = Outcome.OK, None
        ticket.turn_back(item)
        self._line.settle(ticket)
