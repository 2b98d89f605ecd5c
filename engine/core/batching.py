"""Which of the waiting requests form the next batch, and when one is taken.

The most urgent go first, by level with aging and by arrival (`core.aging`). Payloads of different kinds never share a
batch, and a request that was there when an instance died (`isolate`) runs alone.

This is the rule as it is meant, one request at a time. Instances follow it by `shm.ready`, which finds the same batch
in the tables of a segment, all slots at a time; `tests/shm/test_ready.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.core.aging import by_urgency


class BatchPolicy(NamedTuple):
    """What decides on a batch beside the requests themselves."""

    max_batch: int  # most items
    aging_ns: int  # of waiting count one level more


class Candidate(NamedTuple):
    """One READY slot, as the look under the lease found it."""

    slot: int  # its index in the segment's tables
    level: int  # -1 bulk, 0 normal, 1 interactive
    arrival_ns: int
    key: int  # equal keys may share a batch: kind of payload
    isolate: bool


def choose(candidates: Sequence[Candidate], policy: BatchPolicy, *, now_ns: int) -> list[int]:
    """Indices of the slots for one batch, most urgent first; at most `max_batch`, empty only for no candidates.

    Of equally urgent ones the first of `candidates` goes first.
    """
    if not candidates:
        return []
    order = by_urgency(candidates, now_ns=now_ns, aging_ns=policy.aging_ns)
    first = order[0]
    if first.isolate:
        return [first.slot]
    return [c.slot for c in order if c.key == first.key and not c.isolate][: policy.max_batch]


def worth_taking(ready: int, policy: BatchPolicy, *, busy: bool) -> bool:
    """Whether an instance takes a batch out of `ready` requests now.

    An idle one waits for nothing. While another batch computes (`busy`) only a full one is worth it: it could not start
    any sooner, and a smaller one would leave behind what arrives until then.
    """
    return ready >= (policy.max_batch if busy else 1)


def buckets(max_batch: int) -> list[int]:
    """The batch sizes that are warmed: 1, 2, 4, ... and `max_batch` itself."""
    sizes = [1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch]
    return [*sizes, max_batch]
