"""One taken batch, from slots to replies: what is computed, what is not, and whose fault an error is.

Cancelled and expired slots are answered uncomputed. An error in a batch is bisected, so that only the culprit gets
it; an output that is not finite is an error of its item, never an answer. A batch that does not fit into memory is
split, and no later one is as large.

An error is told to its caller only once the instance has shown that it still computes: by an answer after it, or else
by the warm-up item. Otherwise one broken device would fail requests as fast as they come. An instance that does not
pass raises Poisoned; what it has not answered runs again elsewhere, because the process ends with it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.clock import now_ns
from engine.core.ceiling import BatchCeiling
from engine.instance.faults import Failure, Fault, Poisoned, failure_of
from engine.instance.runner import ModelRunner
from engine.instance.warmup import WarmUp
from engine.shm.taker import Outcome, SlotResult, TakenSlot, Taker


class BatchCounts(NamedTuple):
    """What became of one batch: items computed, items that failed, nanoseconds on the device."""

    computed: int
    failed: int
    busy_ns: int


class BatchProcessor:
    """Answers every slot of a taken batch exactly once, or raises Poisoned."""

    def __init__(self, taker: Taker, runner: ModelRunner, warmed: WarmUp) -> None:
        self._taker = taker
        self._runner = runner
        self._probe = warmed.probe
        self.ceiling = BatchCeiling(runner.max_batch)
        if warmed.too_large:
            self.ceiling.sink(warmed.too_large, now_ns())

    def process(self, batch: Sequence[TakenSlot]) -> BatchCounts:
        """Raises Poisoned with slots left unanswered; the process must end, and nothing be stored any more."""
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
        failed = self._answer(live) if live else 0
        return BatchCounts(len(live), failed, now_ns() - start_ns)

    def _answer(self, live: Sequence[TakenSlot]) -> int:
        """Computes and replies; how many items failed."""
        self._taker.start(live)
        failed = 0
        unproven: list[SlotResult] = []  # errors since the last answer: the items', or the instance's own
        for results in self._compute(live):
            bad = sum(result.outcome is not Outcome.OK for result in results)
            failed += bad
            unproven += results
            if bad < len(results):
                self._taker.reply(unproven)
                unproven = []
        if unproven:
            why_not = self._probe.why_not(self._runner)
            if why_not:
                errors = f"{len(unproven)} of {len(live)} items failed ({unproven[0].error or 'not finite'})"
                raise Poisoned(f"{errors}, then the warm-up item: {why_not}")
            self._taker.reply(unproven)
        return failed

    def _compute(self, slots: Sequence[TakenSlot]) -> Iterator[list[SlotResult]]:
        """The results of one run after the other; halves of a run that failed are run in its place."""
        pending = [slots]
        while pending:
            part = pending.pop()
            found = self._run(part)
            if not isinstance(found, Failure):
                yield _answers(part, found)
            elif len(part) > 1:
                middle = len(part) // 2
                pending += (part[middle:], part[:middle])
            else:
                yield [SlotResult(part[0], Outcome.MODEL_FAILED, None, error=found.text, batch_size=1)]

    def _run(self, slots: Sequence[TakenSlot]) -> npt.NDArray[np.float32] | Failure:
        found = self._try(slots)
        if isinstance(found, Failure) and found.fault is Fault.MEMORY:
            gc.collect()
            self._runner.release_memory()
            if len(slots) == 1:  # there is no smaller batch; what has just been released may be all that was missing
                return self._try(slots)
            self.ceiling.sink(len(slots), now_ns())
        return found

    def _try(self, slots: Sequence[TakenSlot]) -> npt.NDArray[np.float32] | Failure:
        try:
            return self._runner.run(slots)
        except BaseException as error:  # somebody else's code: whatever it raises, sys.exit() too, belongs to its items
            failure = failure_of(error)
        if failure.fault is Fault.DEVICE:
            raise Poisoned(f"the device cannot be used any more: {failure.text}")
        return failure


def _answers(slots: Sequence[TakenSlot], probabilities: npt.NDArray[np.float32]) -> list[SlotResult]:
    size, finite = len(slots), np.isfinite(probabilities)
    if finite.all():
        return [SlotResult(slot, Outcome.OK, row, "", size) for slot, row in zip(slots, probabilities)]
    rows: list[bool] = finite.all(axis=1).tolist()  # type: ignore[assignment]
    return [
        SlotResult(slot, Outcome.OK if good else Outcome.NON_FINITE, row if good else None, batch_size=size)
        for slot, row, good in zip(slots, probabilities, rows)
    ]
