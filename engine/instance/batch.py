"""One taken batch, from slots to replies: what is computed, what is not, and whose fault an error is.

Cancelled and expired slots are answered uncomputed. An error in a batch is bisected, so that only the culprit gets
it; an output that is not finite is an error of its item, never an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from engine.clock import now_ns
from engine.instance.runner import ModelRunner
from engine.shm.taker import Outcome, SlotResult, TakenSlot, Taker

ERROR_TEXT_CHARS = 400


class BatchCounts(NamedTuple):
    """What became of one batch: items computed, items that failed, nanoseconds on the device."""

    computed: int
    failed: int
    busy_ns: int


class BatchProcessor:
    """Answers every slot of a taken batch exactly once."""

    def __init__(self, taker: Taker, runner: ModelRunner) -> None:
        self._taker = taker
        self._runner = runner

    def process(self, batch: Sequence[TakenSlot]) -> BatchCounts:
        start_ns = now_ns()
        live: list[TakenSlot] = []
        dropped: list[SlotResult] = []
        for slot in batch:
            if slot.cancelled or slot.frontend_dead:
                dropped.append(SlotResult(slot, Outcome.CANCELLED, None))
            elif slot.deadline_ns <= start_ns:
                dropped.append(SlotResult(slot, Outcome.EXPIRED, None))
            else:
                live.append(slot)
        if dropped:
            self._taker.reply(dropped)
        failed = 0
        if live:
            self._taker.start(live)
            for results in self._compute(live):
                failed += sum(result.outcome is not Outcome.OK for result in results)
                self._taker.reply(results)
        return BatchCounts(len(live), failed, now_ns() - start_ns)

    def _compute(self, slots: Sequence[TakenSlot]) -> Iterator[list[SlotResult]]:
        try:
            probabilities = self._runner.run(slots)
        except Exception as error:  # the model is somebody else's code: whatever it raises belongs to these items
            if len(slots) == 1:
                text = f"{type(error).__name__}: {error}"[:ERROR_TEXT_CHARS]
                yield [SlotResult(slots[0], Outcome.MODEL_FAILED, None, error=text, batch_size=1)]
                return
            middle = len(slots) // 2
            yield from self._compute(slots[:middle])
            yield from self._compute(slots[middle:])
            return
        finite: list[bool] = np.isfinite(probabilities).all(axis=1).tolist()  # type: ignore[assignment]
        yield [
            SlotResult(
                slot,
                Outcome.OK if good else Outcome.NON_FINITE,
                row if good else None,
                batch_size=len(slots),
            )
            for slot, row, good in zip(slots, probabilities, finite)
        ]
