"""What the words of slots stand for, as plain values of one process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from engine.errors import InternalError
from engine.shm.words import REPLIED, state_of


class Outcome(IntEnum):
    """How a slot's work ended."""

    OK = 0
    CANCELLED = 1  # the instance found `cancel` set, or the frontend dead
    EXPIRED = 2  # the deadline had passed when the instance looked: not computed
    MODEL_FAILED = 3
    NON_FINITE = 4
    CRASHED = 5  # the verdict: a second instance died with this work started
    REFUSED = 6  # closing, and no instance is left


KIND_INT16 = 0
KIND_FLOAT32 = 1


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """How many slots are in which state; the sum is the number of slots, always."""

    free: int = 0
    writing: int = 0
    ready: int = 0
    leased: int = 0
    replied: int = 0

    @property
    def total(self) -> int:
        return self.free + self.writing + self.ready + self.leased + self.replied

    @classmethod
    def of(cls, words: Iterable[int]) -> LaneStatistics:
        """How many of these slot words are in which state. Raises InternalError for a state that does not exist."""
        counts = [0, 0, 0, 0, 0]
        for word in words:
            if state_of(word) > REPLIED:
                raise InternalError(f"slot word {word:#x} has no valid state")
            counts[state_of(word)] += 1
        return cls(*counts)
