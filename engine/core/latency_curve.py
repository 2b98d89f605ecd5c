"""How long a batch takes, by its size: learnt from warming up, and from every batch that runs.

The first run of a size is no measure: libraries choose their ways for a new size in it, and it may take ten times as
long. Of the next few the second fastest counts, because what disturbs a run only ever lengthens it; from then on each
moves the figure a little. What makes everything slower alike, such as a busy machine, is followed apart from the shape:
the sizes that run just now would otherwise look worse than those that were measured in a quiet moment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

_EACH_UP_TO = 16  # larger sizes share a cell with their neighbours, an eighth of them wide
_KNOWN = 3  # measures, of which one may have been disturbed
_FEW = 4  # measures of a size, of which the second fastest counts
_MOST_REMEMBERED = 8  # measures that what an earlier process knew counts for, so that this one soon knows better
_MANY = 16  # measures, from which on each moves the figure by as much as the one before
_PACE_SHARE = 1 / 4  # of a deviation that is put down to the machine: four batches show a new pace; arbitrary
_MOST = 1.5  # one run counts as at most so many times slower or faster than it should have been


class Measured(NamedTuple):
    """What was measured of batches of one size."""

    batch_ns: float
    measures: int


class _Cell:
    """Sizes that are taken for one."""

    __slots__ = ("size", "item_ns", "measures", "is_met", "_fastest", "_second")

    def __init__(self, size: int) -> None:
        self.size = size  # the largest of them
        self.item_ns = 0.0  # what an item takes; 0.0: nobody knows
        self.measures = 0
        self.is_met = False  # the first run, which is no measure, is over
        self._fastest = self._second = 0.0

    def add(self, item_ns: float) -> None:
        """One of the first measures."""
        self.measures += 1
        if self.measures < 3:
            self._second, self._fastest = sorted((item_ns, self._fastest or item_ns), reverse=True)
            self.item_ns = self._fastest
        else:
            self._fastest, self.item_ns, _ = sorted((self._fastest, self._second, item_ns))
            self._second = self.item_ns

    def move(self, deviation: float) -> None:
        """One of the later ones."""
        self.measures = min(_MANY, self.measures + 1)
        self.item_ns *= 1 + (deviation - 1) / self.measures

    def correct(self, deviation: float) -> None:
        """One that was so much faster that the first ones must all have been disturbed."""
        self.measures += 1
        self.item_ns *= 1 + (deviation - 1) / 2


class LatencyCurve:
    """Nanoseconds by size, for sizes from 1 to `most`; 16 cells and 8 more for each further doubling.

    Equation: a batch of n takes pace * n * (what an item of that size takes).
    """

    def __init__(self, most: int) -> None:
        self.sizes = _cells(most)  # the largest of each cell, ascending; the last one is `most`
        self._cells = [_Cell(size) for size in self.sizes]
        self._pace = 1.0

    def add(self, size: int, took_ns: int) -> int:
        """A batch of `size` items took so long; how often that size has been measured by now."""
        cell = self._cells[bisect_left(self.sizes, size)]
        if not cell.is_met:
            cell.is_met = True
            return cell.measures
        item_ns = max(1, took_ns) / size
        if cell.measures < _FEW:
            cell.add(item_ns / self._pace)
            return cell.measures
        deviation = item_ns / (self._pace * cell.item_ns)
        if deviation < 1 / _MOST and cell.measures < _MANY:
            cell.correct(deviation)
            return cell.measures
        deviation = min(_MOST, max(1 / _MOST, deviation))
        followed = 1 + (deviation - 1) * _PACE_SHARE * cell.measures / _MANY
        self._pace *= followed
        cell.move(deviation / followed)
        return cell.measures

    def meet(self, size: int) -> None:
        """A batch of `size` has run for the first time."""
        self._cells[bisect_left(self.sizes, size)].is_met = True

    def forget(self, size: int) -> None:
        """What was measured of a batch of `size` may be true no longer."""
        self._cells[bisect_left(self.sizes, size)].measures = 0

    def measures(self, size: int) -> int:
        """How often this size has been measured, as far as it matters: 16 at most."""
        return self._cells[bisect_left(self.sizes, size)].measures

    def knows(self, size: int) -> bool:
        """Whether this size has been measured, and not just in a run or two, which may have been unlucky."""
        return self.measures(size) >= _KNOWN

    def ns(self, size: int) -> float | None:
        """What a batch of `size` takes; between two sizes that were measured what lies between. None: nobody knows.

        Beyond the largest that was measured each item costs what it costs there; below the smallest, a batch does.
        """
        at = bisect_left(self.sizes, size)
        if self._cells[at].measures:
            return self._pace * self._cells[at].item_ns * size
        above = next((cell for cell in self._cells[at:] if cell.measures), None)
        below = next((cell for cell in self._cells[at::-1] if cell.measures), None)
        if below is None:
            return None if above is None else self._pace * above.item_ns * above.size
        if above is None:
            return self._pace * below.item_ns * size
        share = (size - below.size) / (above.size - below.size)
        return self._pace * (below.item_ns * below.size * (1 - share) + above.item_ns * above.size * share)

    # --- from one process to the next -------------------------------------------------------------------------------

    def measured(self) -> dict[int, Measured]:
        """Of the sizes that are known."""
        known = [cell for cell in self._cells if cell.measures >= _KNOWN]
        return {cell.size: Measured(self._pace * cell.item_ns * cell.size, cell.measures) for cell in known}

    def remember(self, measured: Mapping[int, Measured]) -> None:
        """What an earlier process measured; a size that does not exist here is passed over."""
        for cell in self._cells:
            found = measured.get(cell.size)
            if found is not None and found.batch_ns > 0.0:
                cell.item_ns = found.batch_ns / cell.size
                cell.measures = min(_MOST_REMEMBERED, max(_FEW, found.measures))


def _cells(most: int) -> list[int]:
    sizes = list(range(1, min(most, _EACH_UP_TO) + 1))
    while sizes[-1] < most:
        step = 1 << max(0, sizes[-1].bit_length() - 4)
        sizes.append(min(most, sizes[-1] + step))
    return sizes
