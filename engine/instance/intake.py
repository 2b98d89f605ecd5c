"""What an instance takes: whether it is worth it now, how much of what is READY, and how much it leaves to others."""

from __future__ import annotations

from collections.abc import Callable

from engine.clock import NS_PER_MS, now_ns
from engine.core.batch_size import BatchSize
from engine.core.batching import BatchPolicy, worth_taking
from engine.core.company import Company
from engine.shm.batch import Batch
from engine.shm.board import InstanceBoard
from engine.shm.ready import ReadySlots
from engine.shm.taker import Taker


class Intake:
    """For the loop of one instance."""

    def __init__(
        self,
        taker: Taker,
        size: BatchSize,
        board: InstanceBoard,
        *,
        aging_ms: float,
        longest_wait_ms: float,
    ) -> None:
        self._company = Company(size, int(longest_wait_ms * NS_PER_MS))
        self._taker = taker
        self._size = size
        self._board = board
        self._policy = BatchPolicy(size.aim, int(aging_ms * NS_PER_MS))
        self._joined = 0  # came while it waited, of those whose number it is to learn
        self._busy = False  # in a `take`: another batch computes

    def take(self, pause: Callable[[float], bool], *, busy: bool) -> Batch | None:
        """A batch, if one is worth taking now. The look before costs no lease, and is enough to go to sleep on.

        `pause`: sleeps for so many seconds or until the doorbell rings; False: there is something else to do.
        """
        ready = self._taker.look()
        if self._company.since_ns:
            self._see_who_came()
        if 0 < ready < self._policy.max_batch and self._company.answered > 1 and not busy:
            ready = self._wait(ready, pause)
        most = self._size.look(now_ns()) if self._size.is_limited else self._size.aim
        if most != self._policy.max_batch:
            self._policy = self._policy._replace(max_batch=most)
        if not worth_taking(ready, self._policy, busy=busy):
            return None
        self._busy = busy
        batch = self._taker.take(self._choose)
        return batch if batch.slots else None

    def answered(self, items: int) -> None:
        """So many were answered just now, together."""
        self._company.answered = items
        if items > 1:
            self._company.answered_ns = now_ns()

    def _wait(self, ready: int, pause: Callable[[float], bool]) -> int:
        """Waits for company, if that pays; how many are READY then. Whatever it drains, it looks after it."""
        company, moment_ns = self._company, now_ns()
        wanted = company.wanted(ready, moment_ns)
        until_ns = moment_ns + company.window_ns
        if not wanted or self._board.idle_beside():  # whoever comes is taken by those
            return ready
        if self._taker.tightest_ns() < until_ns + self._size.batch_ns(wanted):
            return ready
        self._board.work()
        first = ready
        while ready < wanted:
            left_ms = (until_ns - now_ns()) // NS_PER_MS  # epoll's unit; it would round up
            if left_ms < 1 or not pause(left_ms / 1000):
                break
            ready = self._taker.look()
        self._joined = max(0, ready - first)
        return ready

    def _see_who_came(self) -> None:
        """How many came soon after the last batch was answered, and whether it was worth waiting for them."""
        since_ns = self._company.since_ns
        later = self._taker.arrived(since_ns, since_ns + self._company.window_ns)
        self._company.came(self._joined + later)
        self._joined = 0

    def _choose(self, ready: ReadySlots) -> list[int]:
        """Everybody else who wants work waits meanwhile."""
        self._board.work()
        policy, moment_ns = self._policy, now_ns()
        if len(ready) < 2:
            return ready.choose(policy, moment_ns)
        if self._size.shares and not self._busy:
            most = self._size.share(len(ready), 1 + self._board.idle_beside(), self._board.count())
            policy = policy._replace(max_batch=most)
        chosen = ready.choose(policy, moment_ns)
        in_time = self._size.in_time(ready.deadlines_ns(chosen), moment_ns)
        return chosen if len(in_time) == len(chosen) else [chosen[position] for position in in_time]
