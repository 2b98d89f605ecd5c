"""What an instance takes: whether anything is worth it, how much of what is READY, and how much it leaves to others."""

from __future__ import annotations

from engine.clock import NS_PER_MS, now_ns
from engine.core.batch_size import BatchSize
from engine.core.batching import BatchPolicy, worth_taking
from engine.shm.batch import Batch
from engine.shm.board import InstanceBoard
from engine.shm.ready import ReadySlots
from engine.shm.taker import Taker


class Intake:
    """For the loop of one instance."""

    def __init__(self, taker: Taker, size: BatchSize, board: InstanceBoard, *, aging_ms: float) -> None:
        self._taker = taker
        self._size = size
        self._board = board
        self._policy = BatchPolicy(size.aim, int(aging_ms * NS_PER_MS))
        self._busy = False  # in a `take`: another batch computes

    def take(self, *, busy: bool) -> Batch | None:
        """A batch, if one is worth taking now. The look before costs no lease, and is enough to go to sleep on."""
        ready = self._taker.look()
        most = self._size.look(now_ns()) if ready else 0
        if most and most != self._policy.max_batch:
            self._policy = self._policy._replace(max_batch=most)
        if not worth_taking(ready, self._policy, busy=busy):
            return None
        self._busy = busy
        batch = self._taker.take(self._choose)
        return batch if batch.slots else None

    def _choose(self, ready: ReadySlots) -> list[int]:
        """Everybody else who wants work waits meanwhile."""
        self._board.work()
        policy, moment_ns = self._policy, now_ns()
        if len(ready) < 2:
            return ready.choose(policy, moment_ns)
        if self._size.shares and not self._busy:
            most = self._size.share(len(ready), 1 + self._board.idle_beside())
            policy = policy._replace(max_batch=most)
        chosen = ready.choose(policy, moment_ns)
        in_time = self._size.in_time(ready.deadlines_ns(chosen), moment_ns)
        return chosen if len(in_time) == len(chosen) else [chosen[position] for position in in_time]
