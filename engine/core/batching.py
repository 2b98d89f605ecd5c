"""Which of the waiting requests form the next batch.

The most urgent go first, by level with aging and by arrival (`core.aging`). Payloads of different kinds never share a
batch, and a request that was there when an instance died (`isolate`) runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.core.aging import by_urgency


class Candidate(NamedTuple):
    """One READY slot, as the look under the lease found it."""

    slot: int  # its index in the segment's tables
    level: int  # -1 bulk, 0 normal, 1 interactive
    arrival_ns: int
    key: int  # equal keys may share a batch: kind of payload
    isolate: bool


def choose(candidates: Sequence[Candidate], *, max_batch: int, now_ns: int, aging_ns: int) -> list[int]:
    """Indices of the slots for one batch, most urgent first; at most `max_batch`, empty only for no candidates."""
    if len(candidates) < 2:
        return [candidate.slot for candidate in candidates]
    order = by_urgency(candidates, now_ns=now_ns, aging_ns=aging_ns)
    first = order[0]
    if first.isolate:
        return [first.slot]
    return [c.slot for c in order if c.key == first.key and not c.isolate][:max_batch]


def buckets(max_batch: int) -> list[int]:
    """The batch sizes that are warmed: 1, 2, 4, ... and `max_batch` itself."""
    sizes = [1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch]
    return [*sizes, max_batch]
