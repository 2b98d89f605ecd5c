"""Counters that go on over the versions of a deployment, though each version counts in a segment of its own.

What versions that are gone had counted is carried in the segments of those that followed; what open ones count is
read where they count it. A figure is the carried part of the oldest, and everything that is open: it never falls, as
long as whoever lets a version go remembers what it had counted (`after_leaving`), and whoever carries stores nothing
smaller than what stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """One open version; figures of all parts stand in the same order."""

    carried: Sequence[int]  # at least what versions before this one had counted when that was stored
    own: Sequence[int]  # counted in this one


def gone_before(parts: Sequence[Part], known: Sequence[int]) -> list[int]:
    """What was counted by versions that are not among `parts`, which come oldest first and were read newest first.

    The most that anybody knows: `known`, or what a part carries beyond the open ones before it.
    """
    most, older = list(known), [0] * len(known)
    for part in parts:
        most = [max(one, carried - before) for one, carried, before in zip(most, part.carried, older, strict=True)]
        older = _sum(older, part.own)
    return most


def total(parts: Sequence[Part], known: Sequence[int]) -> list[int]:
    """Everything that was ever counted, as far as can be seen from here."""
    figures = gone_before(parts, known)
    for part in parts:
        figures = _sum(figures, part.own)
    return figures


def to_carry(parts: Sequence[Part], known: Sequence[int]) -> list[list[int]]:
    """What each part is to carry."""
    figures = [gone_before(parts, known)]
    for part in parts[:-1]:
        figures.append(_sum(figures[-1], part.own))
    return figures[: len(parts)]


def after_leaving(parts: Sequence[Part], leaver: int, known: Sequence[int]) -> list[int]:
    """What is to be remembered as `known` once the part of this index is not seen any more."""
    return _sum(gone_before(parts, known), parts[leaver].own)


def _sum(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]
