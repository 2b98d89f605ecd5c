"""Which files have been here lately, as far as can be told without reading them: for a microsecond each.

A file is told by its length and a few bytes here and there. Two recordings of which those are silent look the same:
whoever asks here checks how often what looks like a repeat is one.
"""

from __future__ import annotations

from array import array

SLOTS = 1 << 14  # files that are remembered at most; a newer one takes the place of an older
_PLACES = (3, 5, 7)  # eighths of a file where it is looked at, beside its end; its beginning, many have in common
_LOOKED_AT_BYTES = 48
_MASK = (1 << 64) - 2


def look_of(file: memoryview) -> int:
    """What a file looks like, as a number of this process; memory of one byte an item."""
    size = len(file)
    pieces = [file[size * place // 8 : size * place // 8 + _LOOKED_AT_BYTES].tobytes() for place in _PLACES]
    return hash((size, file[-_LOOKED_AT_BYTES:].tobytes(), *pieces)) & _MASK


class Repeats:
    """Remembers looks, and of which the answer was kept. Not thread-safe: what two threads mix up costs a look-up."""

    def __init__(self) -> None:
        self._seen = array("Q", bytes(8 * SLOTS))  # the look, with the last bit set if the answer was kept

    def see(self, look: int) -> tuple[bool, bool]:
        """Whether it has been here, and whether its answer was kept then; from now on it has been here."""
        at = (look >> 1) % SLOTS
        before = self._seen[at]
        if before & _MASK == look:
            return True, bool(before & 1)
        self._seen[at] = look
        return False, False

    def keep(self, look: int) -> None:
        """The answer is kept."""
        self._seen[(look >> 1) % SLOTS] = look | 1
