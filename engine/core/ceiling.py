"""The largest batch that fits into a device's memory, learnt from those that did not."""

from __future__ import annotations

FIRST_PAUSE_NS = 60 * 10**9  # before a larger batch is tried again: what fills a device seldom goes sooner
LONGEST_PAUSE_NS = 3600 * 10**9


class BatchCeiling:
    """Equation: 1 <= limit <= most. Sinks with every batch that does not fit; doubles again after a quiet pause.

    A try too many costs one failed batch, which is then split; each such try doubles the pause before the next.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._limit = most
        self._pause_ns = FIRST_PAUSE_NS
        self._raise_at_ns = 0
        self._raised = False  # since it last sank

    @property
    def limit(self) -> int:
        """Most items of a batch, as of the last `look` or `sink`."""
        return self._limit

    def look(self, now_ns: int) -> int:
        """Most items that the next batch may have."""
        if self._limit < self.most and now_ns >= self._raise_at_ns:
            self._limit = min(self.most, 2 * self._limit)
            self._raise_at_ns = now_ns + self._pause_ns
            self._raised = True
        return self._limit

    def sink(self, size: int, now_ns: int) -> None:
        """A batch of `size` items, at least 2, did not fit."""
        self._limit = max(1, min(self._limit, size // 2))
        if self._raised:
            self._pause_ns = min(LONGEST_PAUSE_NS, 2 * self._pause_ns)
            self._raised = False
        self._raise_at_ns = now_ns + self._pause_ns
