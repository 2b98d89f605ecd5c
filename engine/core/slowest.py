"""Which requests are among the slowest of the last minute: decided when one ends, by two comparisons for nearly all."""

from __future__ import annotations


class Slowest:
    """So many places, each with the request that has it. Not thread-safe."""

    def __init__(self, places: int, keep_ns: int) -> None:
        """`keep_ns`: how long a slow one is kept from one that is less slow."""
        self._keep_ns = keep_ns
        self._held: list[tuple[int, int]] = [(-1, 0)] * places  # how long it took, and when it is forgotten
        self._least_ns = -1  # below it, and before the next moment, there is no place
        self._forget_at_ns = 0

    def has_place(self, took_ns: int, now: int) -> bool:
        """Whether `place` would give one to a request which took so long and ended now."""
        return took_ns > self._least_ns or now >= self._forget_at_ns

    def place(self, took_ns: int, now: int) -> int | None:
        """The place that a request gets which took so long and ended now; None if it is not slow enough."""
        if not self.has_place(took_ns, now):
            return None
        held = self._held
        place = min(range(len(held)), key=lambda k: held[k][1])
        if held[place][1] > now:  # none is to be forgotten
            place = min(range(len(held)), key=held.__getitem__)
        held[place] = (took_ns, now + self._keep_ns)
        self._least_ns = min(took for took, _ in held)
        self._forget_at_ns = min(until_ns for _, until_ns in held)
        return place
