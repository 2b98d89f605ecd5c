"""What goes into a slot and what comes out of it, as plain values of one process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


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


class SlotRequest(NamedTuple):
    """One item, ready to be copied into a slot."""

    payload: memoryview | NDArray[Any]  # contiguous, of int16 or float32 in native byte order
    int16: bool
    gain: float  # the instance multiplies by it: int16 by gain / 32768
    request_id: str  # at most 128 bytes of it travel
    caller_hash: int  # 64 bits
    level: int  # -1 bulk, 0 normal, 1 interactive
    arrival_ns: int
    deadline_ns: int


class SlotTicket:
    """A submitted item, until its reply is harvested. Opaque but for `owner`, which the submitter may use freely."""

    __slots__ = ("index", "generation", "owner", "abandoned")

    def __init__(self, index: int, generation: int, owner: object) -> None:
        self.index = index
        self.generation = generation
        self.owner = owner
        self.abandoned = False  # set by LaneOwner.abandon alone


@dataclass(slots=True)
class SlotReply:
    """What became of one ticket. The moments are 0 where the work never got that far."""

    ticket: SlotTicket
    outcome: Outcome
    probabilities: NDArray[np.float32] | None  # [classes], a copy; only for OK
    error: str = ""
    batch_size: int = 0
    taken_ns: int = 0  # leased by an instance
    started_ns: int = 0  # put on the device
    done_ns: int = 0  # reply written


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
