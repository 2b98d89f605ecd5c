"""How many requests may be traced: so many a second, and at most those of one second at once."""

from __future__ import annotations

_NS_PER_S = 1_000_000_000


class TraceBudget:
    """Not thread-safe."""

    def __init__(self, per_s: int, now: int) -> None:
        self._per_s = per_s
        self._left = float(per_s)
        self._seen_ns = now

    def take(self, wanted: int, now: int) -> int:
        """How many of `wanted` may be traced now; they are used up."""
        self._left = min(self._per_s, self._left + (now - self._seen_ns) * self._per_s / _NS_PER_S)
        self._seen_ns = now
        given = min(wanted, int(self._left))
        self._left -= given
        return given
