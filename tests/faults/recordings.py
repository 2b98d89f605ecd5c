"""Recordings of which no two are the same, or of which each comes again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

from tests.conformance import sounds

_TAGS = 1 << 15


class Recordings:
    """Short recordings; every `repeat_every`-th is one that was handed out before. For any thread."""

    def __init__(self, *, repeat_every: int = 4, seconds: float = 0.5) -> None:
        self._content = sounds.wav(sounds.tone(seconds))
        self._repeat_every = repeat_every
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._lock:
            number = next(self._numbers)
        is_old = self._repeat_every and number % self._repeat_every == 0
        return self.numbered(number // self._repeat_every if is_old else number)

    def numbered(self, number: int) -> bytes:
        """The same for the same number: some of its last samples say which."""
        samples = bytearray(self._content)
        first = len(self._content) - len(self._content) % 2 - 8
        for place, part in enumerate((number % _TAGS, number // _TAGS % _TAGS)):
            samples[first + 2 * place : first + 2 * place + 2] = part.to_bytes(2, "little")
        return bytes(samples)
