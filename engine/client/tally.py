"""What a finished ticket adds to the counters of its lane."""

from __future__ import annotations

from engine.client.ticket import Ticket
from engine.errors import ClientGone, DeadlineExceeded

Counts = tuple[tuple[str, int], ...]

EXPIRED: Counts = (("requests", 1), ("failed", 1), ("expired", 1))
_CANCELLED: Counts = (("requests", 1), ("cancelled", 1))
_FAILED: Counts = (("requests", 1), ("failed", 1))


def counts_of(ticket: Ticket) -> Counts:
    """The counters that a ticket moves, once, when it is done."""
    error = ticket.error
    if error is None:  # of its items the first one counts, as for `Ticket.wait`
        error = next((item.error for item in ticket.items if item.error), None)
    if error is None:
        return (("requests", 1), ("succeeded", 1), ("latency_ns", ticket.done_ns - ticket.arrival_ns))
    if isinstance(error, DeadlineExceeded):
        return EXPIRED
    return _CANCELLED if isinstance(error, ClientGone) else _FAILED
