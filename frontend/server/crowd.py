"""How many connections each frontend holds, known to all of them, so that new ones go to the emptiest.

All frontends wait on one listening socket, and the kernel tends to wake the same one first: a few keep-alive clients
can all end up in one process while the others idle. So each frontend writes its count into a page that the master made
before it forked, and one that holds more than another lets the other go first for a moment.

A row has one writer, its frontend. Rows are told apart by the worker's age (gunicorn's running number) modulo their
count; a row that is not refreshed is that of a dead frontend and does not count. The values are hints: a torn or stale
one costs a millisecond.
"""

from __future__ import annotations

import mmap

from engine.clock import NS_PER_S, now_ns

ROWS = 128
FRESH_NS = 2 * NS_PER_S  # a living frontend refreshes its row at least twice a second

_COUNT, _BEAT, _WORDS = 0, 1, 2


class Crowd:
    """The page. Made in the master, inherited by every frontend."""

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, ROWS * _WORDS * 8)).cast("Q")

    def write(self, number: int, connections: int) -> None:
        """Frontend `number` lives and holds so many."""
        base = number % ROWS * _WORDS
        self._words[base + _COUNT] = connections
        self._words[base + _BEAT] = now_ns()

    def leave(self, number: int) -> None:
        """Frontend `number` takes no more."""
        self._words[number % ROWS * _WORDS + _BEAT] = 0

    def has_emptier(self, number: int, connections: int) -> bool:
        """Whether a living frontend other than `number` holds fewer than `connections`."""
        words, oldest_ns = self._words, now_ns() - FRESH_NS
        own = number % ROWS
        return any(
            words[row * _WORDS + _COUNT] < connections
            for row in range(ROWS)
            if row != own and words[row * _WORDS + _BEAT] > oldest_ns
        )
