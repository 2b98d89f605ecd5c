"""Where a record may lie: hints, which several processes write without asking each other.

Sets of WAYS words; a word is tag 24 bits | arena + 1 12 | unit 28, 0: none. There is no compare-and-swap: of two
processes that store into one set at a time one may lose its word, and then its record is not found any more. That is a
miss. A word may also point to what has been overwritten since: whoever follows it checks what is there.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.shm.cache_layout import ARENA_BITS, MOST_ARENAS, UNIT_BITS, UNIT_BYTES, WAYS, CacheGeometry
from engine.shm.words import word_view

_TAG_SHIFT = ARENA_BITS + UNIT_BITS
_UNIT_MASK = (1 << UNIT_BITS) - 1


def hint_of(place: int, arena: int, offset: int) -> int:
    """The word for a record at byte `offset` of an arena; `place` is its `place_of`."""
    return place >> _TAG_SHIFT << _TAG_SHIFT | (arena + 1) << UNIT_BITS | offset // UNIT_BYTES


def target_of(hint: int) -> tuple[int, int]:
    """Arena and byte offset in it; the arena is -1 in a word that says nothing."""
    return (hint >> UNIT_BITS & MOST_ARENAS) - 1, (hint & _UNIT_MASK) * UNIT_BYTES


class CacheIndex:
    """The index of one cache, for reading and writing. Takes no lock and needs none."""

    def __init__(self, area: memoryview, geometry: CacheGeometry) -> None:
        self._words = word_view(area, geometry.index_at, geometry.sets * WAYS)
        self._sets = geometry.sets

    def hints(self, place: int) -> list[int]:
        """Words of the set that have the tag of `place`: seldom more than one."""
        at = place % self._sets * WAYS
        tag = place >> _TAG_SHIFT
        return [word for word in self._words[at : at + WAYS].tolist() if word >> _TAG_SHIFT == tag]

    def belongs(self, hint: int, place: int, at: int) -> bool:
        """Whether a record of `place` would be found by `hint` where it stands."""
        return place >> _TAG_SHIFT == hint >> _TAG_SHIFT and place % self._sets == at // WAYS

    def insert(self, hint: int, place: int, is_current: Callable[[int, int], bool]) -> None:
        """Stores a hint in place of one of the same tag, of none, of one that is out of date, or else of any.

        `is_current(hint, at)`: whether the record that a hint in word `at` is about is still there. Partner of this
        store: the loads in `hints`. The record is complete by then, or its reader would count it as torn.
        """
        first = place % self._sets * WAYS
        self._words[self._way(hint, first, is_current)] = hint

    def _way(self, hint: int, first: int, is_current: Callable[[int, int], bool]) -> int:
        tag = hint >> _TAG_SHIFT
        found = self._words[first : first + WAYS].tolist()
        for way, word in enumerate(found):
            if word >> _TAG_SHIFT == tag or not word:
                return first + way
        for way, word in enumerate(found):
            if not is_current(word, first + way):
                return first + way
        return first + hint % WAYS  # arbitrary: what is overwritten next cannot be told
