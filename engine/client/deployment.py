"""One deployment as its callers see it: who may come in, what a finished request adds to the counters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.client.attachment import Attachment
from engine.client.counting import CounterBook
from engine.client.deadlines import DeadlineWheel
from engine.client.dispatch import Dispatcher
from engine.client.tally import counts_of
from engine.client.ticket import Item, Ticket
from engine.client.versions import Versions
from engine.clock import LAST_NS, NS_PER_S, Deadline, now_ns
from engine.core.admission import admit
from engine.errors import DeadlineExceeded, InvalidField, QueueFull
from engine.shm.board import instance_totals

_RATE_WINDOW_NS = NS_PER_S
_DTYPES = (np.dtype(np.float32), np.dtype(np.int16))  # in native byte order


class Deployment:
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
        attachment = self.versions.serving()
        _check_identity(request_id, level, caller_hash)
        _check_items(items, attachment)
        arrival_ns = now_ns()
        if deadline.at_ns <= arrival_ns:
            self.count(("refused", 1))
            raise DeadlineExceeded("the deadline passed before the request was complete")
        self._admit(arrival_ns, attachment)
        ticket = Ticket(
            items,
            self,
            request_id=request_id,
            level=level,
            arrival_ns=arrival_ns,
            deadline_ns=min(deadline.at_ns, LAST_NS),
            caller_hash=caller_hash,
        )
        self._wheel.add(ticket, ticket.deadline_ns)
        self.dispatcher.place(ticket)
        return ticket

    def retire(self, ticket: Ticket) -> None:
        """A ticket is done; see `TicketKeeper`."""
        self._wheel.remove(ticket, ticket.deadline_ns)
        self.dispatcher.forget(ticket)
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
        self.versions.attachments[attachment.version] = attachment
        self.counters.adopt(attachment)
        self.dispatcher.look()

    def told(self, *, state: str, reason: str, active_version: int) -> None:
        """The supervisor's word on this deployment."""
        versions = self.versions
        if state == "starting" and versions.is_serving:
            return  # a successor is still looking for what serves; we know, and go on
        versions.state, versions.reason, versions.active_version = state, reason, active_version
        self.dispatcher.look()

    def let_go_in_child(self) -> None:
        """In a forked child: the versions are the parent's."""
        self.counters.let_go_in_child()
        for attachment in self.versions.attachments.values():
            attachment.let_go_in_child()
        self.versions.attachments.clear()
        self.dispatcher.let_go_in_child()

    def measure_drain(self, now: int) -> None:
        """At most once a second: how many answers a second all instances together gave while requests waited."""
        attachment = self.versions.active()
        began_ns, before = self._window
        if attachment is None or now - began_ns < _RATE_WINDOW_NS:
            return
        answers = instance_totals(attachment.segment)["requests"]
        if self.dispatcher.waiting and answers > before:
            self._drain_per_s = (answers - before) * NS_PER_S / (now - began_ns)
        self._window = (now, answers)


def _check_identity(request_id: object, level: object, caller_hash: object) -> None:
    """Raises InvalidField for what a slot's words cannot hold."""
    if not isinstance(request_id, str):
        raise InvalidField(f"request_id must be a text, not {type(request_id).__name__}", field="request_id")
    if not (isinstance(level, int) and -1 <= level <= 1):
        raise InvalidField(f"level must be -1, 0 or 1, not {ascii(level)[:80]}", field="level")
    if not isinstance(caller_hash, int):
        raise InvalidField(f"caller_hash must be a whole number, not {type(caller_hash).__name__}", field="caller_hash")


def _check_items(items: Sequence[Item], attachment: Attachment | None) -> None:
    """Raises InvalidField for what no slot can take; every other doubt is the instance's to settle."""
    if not items:
        raise InvalidField("a request needs at least one item", field="items")
    for item in items:
        payload = item.payload
        if not isinstance(payload, np.ndarray) or not isinstance(item.gain, (float, int)):
            raise InvalidField("an item is an array and a number to multiply it by", field="items")
        if payload.dtype not in _DTYPES or not payload.flags.c_contiguous:
            raise InvalidField(f"an item must be contiguous float32 or int16, not {payload.dtype}", field="items")
        if attachment is None:
            continue
        description = attachment.description
        if description.is_waveform:
            _check_waveform(payload.shape, description.input_shape[0])
        elif payload.shape != description.input_shape or payload.dtype != np.float32:
            raise InvalidField(
                f"an item must be float32 {list(description.input_shape)}, not {payload.dtype} {list(payload.shape)}",
                field="items",
            )


def _check_waveform(shape: tuple[int, ...], frames: int) -> None:
    if len(shape) != 1 or not 0 < shape[0] <= frames:
        raise InvalidField(f"an item must be a waveform of 1 to {frames} frames, not {list(shape)}", field="items")
