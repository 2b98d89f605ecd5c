"""How urgent a waiting request is: its level, raised by waiting. The one rule of batches and of the lines before them.

Strict between levels (1 interactive, 0 normal, -1 bulk), and within a level the earliest arrival first. Each `aging_ns`
of waiting counts one level more, up to the highest, so that nothing waits for ever: whatever has waited twice
`aging_ns` stands before everything that comes after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Protocol, TypeVar

LEVELS = (1, 0, -1)


class Waiting(Protocol):
    """Whatever stands in a line."""

    @property
    def level(self) -> int:
        """One of LEVELS."""

    @property
    def arrival_ns(self) -> int:
        """Since when it waits."""


W = TypeVar("W", bound=Waiting)

_arrival = attrgetter("arrival_ns")
_level = attrgetter("level")


def by_urgency(waiting: Iterable[W], *, now_ns: int, aging_ns: int) -> list[W]:
    """`waiting` in the order in which they are served."""
    order = sorted(waiting, key=_arrival)
    if len(set(map(_level, order))) < 2:  # of one level nobody overtakes an earlier one, however long they have waited
        return order
    lifted_once_ns, lifted_twice_ns = now_ns - aging_ns, now_ns - 2 * aging_ns
    first: list[W] = []
    second: list[W] = []
    last: list[W] = []
    for each in order:
        level, arrival_ns = each.level, each.arrival_ns
        if level > 0 or arrival_ns <= (lifted_once_ns if level == 0 else lifted_twice_ns):
            first.append(each)
        elif level == 0 or arrival_ns <= lifted_once_ns:
            second.append(each)
        else:
            last.append(each)
    return first + second + last
