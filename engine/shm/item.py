"""One input of the model on its way: what its caller gives, the slot it lies in, and what became of it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import (
    DeadlineExceeded,
    EngineClosed,
    EngineError,
    ModelCrashed,
    ModelFailed,
    NonFiniteOutput,
)
from engine.shm.records import Outcome

NO_PROBABILITIES: NDArray[np.float32] = np.empty(0, np.float32)
NO_PAYLOAD: NDArray[Any] = np.empty(0, np.uint8)

_ERRORS: dict[Outcome, type[EngineError]] = {
    Outcome.EXPIRED: DeadlineExceeded,
    Outcome.CANCELLED: DeadlineExceeded,  # only ever of a ticket that is done already, or of a lane taken for dead
    Outcome.MODEL_FAILED: ModelFailed,
    Outcome.NON_FINITE: NonFiniteOutput,
    Outcome.CRASHED: ModelCrashed,
    Outcome.REFUSED: EngineClosed,
}


class Asking(Protocol):
    """What a slot's header says of the request that an item belongs to."""

    request_id: str  # at most 128 bytes of it travel
    caller_hash: int  # 64 bits
    level: int  # -1 bulk, 0 normal, 1 interactive
    arrival_ns: int
    turn_ns: int  # since when this item waits, which decides the order
    deadline_ns: int


class Lane(Protocol):
    """Where an item lies in a slot."""

    def abandon(self, item: Item) -> None:
        """Nobody waits for `item` any more."""


class Item:
    """One input of the model. It belongs to one request, which fills in the rest.

    The instance computes `payload * gain` (int16: `* gain / 32768`) and fills a shorter waveform up with zeros.
    """

    __slots__ = (
        "payload", "gain", "ticket", "lane", "slot", "generation", "outcome", "probabilities", "batch_size", "queue_s",
        "compute_s", "error",
    )  # fmt: skip

    def __init__(self, payload: NDArray[Any], gain: float = 1.0) -> None:
        """`payload`: C-contiguous, float32 in the model's input shape, or int16 for waveform models."""
        self.payload = payload  # dropped once nobody needs it
        self.gain = gain
        self.ticket: Asking | None = None  # who waits for it; None: nobody, before and after
        self.lane: Lane | None = None  # where it lies in a slot; changed by the lane, under its lock
        self.slot = 0  # where it lies or lay: table index and generation
        self.generation = 0
        self.outcome = Outcome.OK
        self.probabilities = NO_PROBABILITIES  # float32 [classes], empty where there is an `error`
        self.batch_size = 0
        self.queue_s = 0.0
        self.compute_s = 0.0
        self.error: EngineError | None = None

    def fail(self, outcome: Outcome, text: str) -> None:
        """It has no answer, for this reason."""
        self.outcome = outcome
        self.error = _ERRORS[outcome](text)
