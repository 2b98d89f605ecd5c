"""Taken batches, from slots to replies: what is computed, what is not, and whose fault an error is.

Each goes through two halves. `begin` brings it to the device, and puts it on it if nothing else is there: until then it
counts as staged, not as started. `finish` waits for the oldest, replies, and puts the next one on the device.

Cancelled and expired slots are answered uncomputed. An error in a batch is bisected, so that only the culprit gets
it; an output that is not finite is an error of its item, never an answer. A batch that does not fit into memory is
split, and no later one is as large.

An error is told to its caller only once the instance has shown that it still computes: by an answer after it, or else
by the warm-up item. Otherwise one broken device would fail requests as fast as they come. An instance that does not
pass raises Poisoned; what it has not answered runs again elsewhere, because the process ends with it.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.clock import now_ns
from engine.core.batch_size import BatchSize
from engine.instance.device import DeviceBatch
from engine.instance.faults import Failure, Fault, Poisoned, result_of
from engine.instance.runner import ModelRunner
from engine.instance.warmup import WarmUp
from engine.shm.batch import Batch, BatchReply
from engine.shm.records import Outcome
from engine.shm.taker import Taker

Probabilities = npt.NDArray[np.float32]  # [items, classes]

_NOBODY_WAITS = Failure(Fault.ITEM, "nobody waits for it any more")  # in place of a launch


class BatchCounts(NamedTuple):
    """What became of one batch: items computed, items that failed, nanoseconds on the device."""

    computed: int
    failed: int
    busy_ns: int


class BegunBatch:
    """A batch between `begin` and the end of `finish`."""

    __slots__ = ("batch", "staged", "failure", "launched_ns")

    def __init__(self, batch: Batch, staged: DeviceBatch | Failure) -> None:
        self.batch = batch  # from the launch on, those of it that are computed
        self.staged = staged
        self.failure: Failure | None = None  # of the launch
        self.launched_ns = 0

    def collect(self) -> Probabilities | Failure:
        """What the device has made of it. Raises what that raises."""
        if isinstance(self.staged, Failure):
            return self.staged
        try:
            return self.failure or self.staged.wait()
        finally:
            self.staged.discard()


class BatchProcessor:
    """Answers every slot of the batches it is given exactly once, or raises Poisoned.

    Equation: len(in_flight) <= most_in_flight; of these the oldest alone has been launched.
    """

    def __init__(self, taker: Taker, runner: ModelRunner, warmed: WarmUp) -> None:
        self._taker = taker
        self._runner = runner
        self._probe = warmed.probe
        self.in_flight: deque[BegunBatch] = deque()  # begun and not finished, the oldest first; changed here alone
        self.most_in_flight = 1 + runner.place.ahead
        self.size: BatchSize = warmed.size

    def begin(self, batch: Batch) -> None:
        """Stages a batch that was just taken; not while `most_in_flight` are."""
        begun = BegunBatch(batch, result_of(self._runner.place.stage, batch.payloads()))
        self.in_flight.append(begun)
        if len(self.in_flight) == 1:
            self._launch(begun)

    def finish(self) -> BatchCounts:
        """Waits for the oldest batch and replies; only while one is in flight.

        Raises Poisoned with slots left unanswered; the process must end, and nothing be stored any more.
        """
        begun = self.in_flight[0]
        failed, in_one_piece = 0, False
        found = result_of(begun.collect)
        if begun.batch.slots:
            if isinstance(found, Failure) or not _is_finite(found):
                failed = self._answer(begun.batch, self._relieved(begun.batch, found))
            else:
                self._taker.reply([BatchReply(begun.batch, Outcome.OK, found, "", len(begun.batch.slots))])
                in_one_piece = True
        counts = BatchCounts(len(begun.batch.slots), failed, now_ns() - begun.launched_ns)
        self.in_flight.popleft()
        if self.in_flight:
            self._launch(self.in_flight[0])
        if in_one_piece:
            self.size.add(counts.computed, counts.busy_ns)
        return counts

    def _launch(self, begun: BegunBatch) -> None:
        """The last look at who still waits; the others are on the device from here on, and count as started."""
        batch, staged, positions = begun.batch, begun.staged, None
        begun.launched_ns = now_ns()
        wanted, unwanted, expired = batch.sort_out(begun.launched_ns)
        if len(wanted) < len(batch.slots):
            if not isinstance(staged, Failure):  # after the reply a slot is written anew, and must not be read any more
                begun.failure = result_of(staged.settle)
            self._drop(batch.part(unwanted), batch.part(expired))
            begun.batch, positions = batch.part(wanted), wanted
        if not wanted:
            begun.failure = _NOBODY_WAITS
            return
        self._taker.start(begun.batch)
        if not isinstance(staged, Failure):
            begun.failure = begun.failure or result_of(staged.launch, self._runner.probabilities, positions)

    def _drop(self, unwanted: Batch, expired: Batch) -> None:
        ended = (BatchReply(unwanted, Outcome.CANCELLED, None), BatchReply(expired, Outcome.EXPIRED, None))
        self._taker.reply([reply for reply in ended if reply.batch.slots])

    # --- errors -----------------------------------------------------------------------------------------------------

    def _answer(self, batch: Batch, found: Probabilities | Failure) -> int:
        """Replies to what was computed, and computes again what must be; how many items failed."""
        failed = 0
        unproven: list[BatchReply] = []  # errors since the last answer: the items', or the instance's own
        for replies in self._results(batch, found):
            failed += _failures(replies)
            unproven += replies
            if any(reply.outcome is Outcome.OK for reply in replies):
                self._taker.reply(unproven)
                unproven = []
        if unproven:
            why_not = self._probe.why_not(self._runner)
            if why_not:
                first = unproven[0].error or "not finite"
                errors = f"{_failures(unproven)} of {len(batch)} items failed ({first})"
                raise Poisoned(f"{errors}, then the warm-up item: {why_not}")
            self._taker.reply(unproven)
        return failed

    def _results(self, batch: Batch, found: Probabilities | Failure) -> Iterator[list[BatchReply]]:
        """The results of one run after the other; halves of a run that failed are run in its place."""
        if not isinstance(found, Failure):
            yield _replies(batch, found)
        elif len(batch) == 1:
            yield [BatchReply(batch, Outcome.MODEL_FAILED, None, error=found.text, batch_size=1)]
        else:
            middle = len(batch) // 2
            for places in (range(middle), range(middle, len(batch))):
                half = batch.part(places)
                yield from self._results(half, self._relieved(half, self._run(half)))

    def _run(self, batch: Batch) -> Probabilities | Failure:
        return result_of(self._runner.run, batch.payloads())

    def _relieved(self, batch: Batch, found: Probabilities | Failure) -> Probabilities | Failure:
        """`found`, after what is to be done about too little memory. Raises Poisoned for a device that is lost."""
        if isinstance(found, Failure) and found.fault is Fault.MEMORY:
            gc.collect()
            self._runner.release_memory()
            if len(batch) == 1:  # there is no smaller batch; what has just been released may be all that was missing
                found = self._run(batch)
            else:
                self.size.sink(len(batch), now_ns())
        if isinstance(found, Failure) and found.fault is Fault.DEVICE:
            raise Poisoned(f"the device cannot be used any more: {found.text}")
        return found


def _failures(replies: Sequence[BatchReply]) -> int:
    return sum(len(reply.batch) for reply in replies if reply.outcome is not Outcome.OK)


def _is_finite(probabilities: Probabilities) -> bool:
    return bool(np.logical_and.reduce(np.isfinite(probabilities), axis=None))  # `all` does this by way of Python


def _replies(batch: Batch, probabilities: Probabilities) -> list[BatchReply]:
    size, rows = len(batch), np.isfinite(probabilities).all(axis=1)
    good, bad = np.flatnonzero(rows).tolist(), np.flatnonzero(~rows).tolist()
    answered = BatchReply(batch.part(good), Outcome.OK, probabilities[good], "", size)
    failed = BatchReply(batch.part(bad), Outcome.NON_FINITE, None, batch_size=size)
    return [reply for reply in (failed, answered) if reply.batch.slots]
