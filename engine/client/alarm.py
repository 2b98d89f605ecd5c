"""Ends tickets whose deadline has passed: one timer of the reactor, set to the next deadline there is."""

from __future__ import annotations

from engine.client.deadlines import BUCKET_BITS, DeadlineWheel
from engine.client.reactor import Reactor
from engine.client.ticket import Ticket
from engine.clock import LAST_NS, now_ns

_BUCKET_NS = 1 << BUCKET_BITS
_ALL_NS = LAST_NS + 1  # later than any deadline


class Alarm:
    """In the reactor's thread, but for `heed`."""

    def __init__(self, wheel: DeadlineWheel[Ticket], reactor: Reactor) -> None:
        self._wheel = wheel
        self._reactor = reactor
        self._set_ns = _ALL_NS  # when the timer fires
        self.heeds_before_ns = _ALL_NS  # only deadlines before this have to be told to `heed`

    def follow(self, reactor: Reactor) -> None:
        """`reactor` drives from now on, or is about to."""
        self._reactor = reactor
        self._disarm()
        self._arm()

    def heed(self) -> None:
        """A deadline was added; from every thread."""
        reactor = self._reactor
        if reactor.in_own_thread():
            self._arm()
        else:
            reactor.call(self._arm)

    def look(self) -> None:
        """To be called from time to time: makes up for a timer that was lost."""
        if self._set_ns <= now_ns():
            self._disarm()
        self._arm()

    def _disarm(self) -> None:
        self._set_ns = self.heeds_before_ns = _ALL_NS

    def _arm(self) -> None:
        """Sets the timer to the next deadline, if it is not set to an earlier moment already."""
        next_ns = self._wheel.next_ns()
        if next_ns is not None and next_ns < self._set_ns:
            self._set_ns, self.heeds_before_ns = next_ns, next_ns - _BUCKET_NS
            self._reactor.call_at(next_ns, self._expire)

    def _expire(self) -> None:
        self._disarm()
        for ticket in self._wheel.due(now_ns()):
            ticket.expire()
        self._arm()
