"""One deployment as its callers see it: who may come in, what a finished request adds to the counters."""

from __future__ import annotations

from collections.abc import Sequence

from engine.client.attachment import Attachment
from engine.client.checks import check_request
from engine.client.counting import CounterBook
from engine.client.deadlines import DeadlineWheel
from engine.client.dispatch import Dispatcher
from engine.client.tally import EXPIRED, counts_of
from engine.client.ticket import Ticket
from engine.client.versions import Versions
from engine.clock import LAST_NS, NS_PER_S, Deadline, now_ns
from engine.core.admission import admit
from engine.errors import DeadlineExceeded, QueueFull
from engine.shm.board import instance_totals
from engine.shm.item import Item

_RATE_WINDOW_NS = NS_PER_S


class DeploymentClient:
    """Versions, line and counters of one deployment id. Thread-safe but for `adopt`, `told`, `measure_drain`."""

    def __init__(
        self, deployment_id: str, *, queue_size: int, aging_ns: int, wheel: DeadlineWheel[Ticket]
    ) -> None:
        self.id = deployment_id
        self.versions = Versions(deployment_id)
        self.dispatcher = Dispatcher(self.versions, aging_ns=aging_ns)
        self._queue_size = queue_size
        self._wheel = wheel
        self.counters = CounterBook(self.versions)
        self.count = self.counters.count
        self._drain_per_s = 0.0
        self._window: tuple[int, int] = (0, 0)  # when the drain rate was last measured, and the answers until then

    # --- requests, from every thread --------------------------------------------------------------------------------

    def submit(
        self, items: Sequence[Item], *, request_id: str, level: int, deadline: Deadline, caller_hash: int
    ) -> Ticket:
        """Lets a request in. Raises InvalidField, QueueFull, DeadlineExceeded, or why nothing serves."""
        attachment = self.versions.ready or self.versions.serving()
        check_request(items, None if attachment is None else attachment.description, request_id, level, caller_hash)
        arrival_ns, deadline_ns = now_ns(), deadline.at_ns
        if deadline_ns <= arrival_ns:
            self.count(*EXPIRED)  # as one whose deadline passes a moment later
            raise DeadlineExceeded("the deadline passed before the request was complete")
        census = None if attachment is None else attachment.census
        if census is not None and 2 * census.count < self._queue_size and arrival_ns < census.fresh_until_ns:
            census.count += 1  # nearly always: without a look at the segment
        else:
            self._admit(arrival_ns, attachment)
        ticket = Ticket(
            items,
            self,
            request_id=request_id,
            level=level,
            arrival_ns=arrival_ns,
            deadline_ns=deadline_ns if deadline_ns < LAST_NS else LAST_NS,
            caller_hash=caller_hash,
        )
        ticket.bucket = self._wheel.add(ticket, ticket.deadline_ns)
        self.dispatcher.place(ticket)
        return ticket

    def retire(self, ticket: Ticket) -> None:
        """A ticket is done; see `Issuer`."""
        if ticket.bucket is not None:
            ticket.bucket.discard(ticket)
        if ticket.error is not None:
            self.dispatcher.forget(ticket)
        elif not ticket.is_flawed:
            active = self.versions.active
            if active is not None and active.board.add_answered(ticket.done_ns - ticket.arrival_ns):
                return
        self.count(*counts_of(ticket))

    def _admit(self, now: int, attachment: Attachment | None) -> None:
        """Raises QueueFull when as many requests wait, on the whole machine, as may."""
        waiting = None if attachment is None else attachment.waiting(now, self._queue_size)
        if waiting is None:
            waiting = self.dispatcher.waiting
        verdict = admit(waiting=waiting, bound=self._queue_size, drain_per_s=self._drain_per_s)
        if not verdict.admitted:
            self.count(("refused", 1))
            text = f"{waiting} requests wait for deployment {self.id}, at most {self._queue_size} may"
            raise QueueFull(text, retry_after_s=verdict.retry_after_s)
        if attachment is not None:
            attachment.census.added()

    # --- events, in the reactor's thread ----------------------------------------------------------------------------

    def adopt(self, attachment: Attachment) -> None:
        """A new version, complete with its lane."""
        self.versions.add(attachment)
        self.counters.adopt(attachment)
        self.dispatcher.look()

    def told(self, *, state: str, reason: str, active_version: int) -> None:
        """The supervisor's word on this deployment."""
        versions = self.versions
        if state == "starting" and versions.ready is not None:
            return  # a successor is still looking for what serves; we know, and go on
        versions.told(state=state, reason=reason, active_version=active_version)
        self.dispatcher.look()

    def let_go_in_child(self) -> None:
        """In a forked child: the versions are the parent's."""
        self.counters.let_go_in_child()
        for attachment in self.versions.attachments.values():
            attachment.let_go_in_child()
        self.versions.clear()
        self.dispatcher.let_go_in_child()

    def measure_drain(self, now: int) -> None:
        """At most once a second: how many answers a second all instances together gave while requests waited."""
        attachment = self.versions.active
        began_ns, before = self._window
        if attachment is None or now - began_ns < _RATE_WINDOW_NS:
            return
        answers = instance_totals(attachment.segment)["requests"]
        if self.dispatcher.waiting and answers > before:
            self._drain_per_s = (answers - before) * NS_PER_S / (now - began_ns)
        self._window = (now, answers)
