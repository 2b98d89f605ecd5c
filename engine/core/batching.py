"""Which of the waiting requests form the next batch.

Strict between levels, with aging: a request that has waited `aging_ns` counts one level higher, so that bulk work is
late but never starved. Within a level the oldest goes first. Payloads of different kinds never share a batch, and a
request that was there when an instance died (`isolate`) runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Candidate(NamedTuple):
    """One READY slot, as the look under the lease found it."""

    slot: int  # its index in the segment's tables
    level: int  # -1 bulk, 0 normal, 1 interactive
    arrival_ns: int
    key: int  # equal keys may share a batch: kind of payload
    isolate: bool


def effective_level(level: int, *, waited_ns: int, aging_ns: int) -> int:
    """The level after aging: one higher from `aging_ns` of waiting on."""
    return level + 1 if waited_ns >= aging_ns else level


def choose(candidates: Sequence[Candidate], *, max_batch: int, now_ns: int, aging_ns: int) -> list[int]:
    """Indices of the slots for one batch, most urgent first; at most `max_batch`, empty only for no candidates."""
    if len(candidates) < 2:
        return [candidate.slot for candidate in candidates]
    aged_before_ns = now_ns - aging_ns
    order = sorted(candidates, key=lambda c: (-c.level - (c.arrival_ns <= aged_before_ns), c.arrival_ns))
    first = order[0]
    if first.isolate:
        return [first.slot]
    return [c.slot for c in order if c.key == first.key and not c.isolate][:max_batch]


def buckets(max_batch: int) -> list[int]:
    """The batch sizes that are warmed: 1, 2, 4, ... and `max_batch` itself."""
    sizes = [1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch]
    return [*sizes, max_batch]
