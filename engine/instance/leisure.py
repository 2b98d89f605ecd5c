"""What an instance runs of its model while nobody waits for it: every batch size once, then some of them again.

What libraries remember of a size they then remember before somebody's request needs it, and batch sizes are chosen by
what runs take. Until every size was met large blocks of memory lie apart (`allocator.py`), which costs each batch a
little; so an instance that always has work meets a size now and then between two batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from engine.clock import NS_PER_S, now_ns
from engine.core.batching import buckets
from engine.errors import BrokenError, ConfigError
from engine.instance.faults import Poisoned
from engine.instance.runner import ModelRunner
from engine.instance.warmup import WarmUp, run_probe

MEETING_LIMIT_S = 2.0  # sizes that are no bucket are met for so long, so that a slow model gets on
REPEATING_LIMIT_S = 1.0  # no bucket is repeated past this


class Leisure:
    """Runs that are left to make, one at a time."""

    def __init__(
        self, runner: ModelRunner, warmed: WarmUp, *, repeats: int, all_met: Callable[[], object]
    ) -> None:
        """`repeats`: runs of every bucket, the one at warm-up included. `all_met` is called when every size was met."""
        self._runner = runner
        self._probe, self._size = warmed.probe, warmed.size
        known = buckets(self._size.ceiling.limit)
        sizes = range(1, self._size.ceiling.limit + 1)
        self._unmet = [items for items in sizes if items not in warmed.bucket_ms]  # the last one next
        self._again = deque(items for _ in range(repeats - 1) for items in reversed(known))
        self._spent_ns = dict.fromkeys(known, 0)
        self._meeting_ns = 0
        self._all_met = all_met
        self._meet_next()

    @property
    def is_meeting(self) -> bool:
        """Whether there are sizes that were not met."""
        return bool(self._unmet)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left."""
        return not self._unmet and not self._again

    def met(self, items: int) -> None:
        """Somebody's batch had this size."""
        if items in self._unmet:
            self._unmet.remove(items)
            self._meet_next()

    def run(self) -> None:
        """Makes the next run, if one is left. Raises Poisoned if the model does not do in it what it did at warm-up."""
        if self.is_over:  # somebody's batch had the last size that was to be met
            return
        meeting = bool(self._unmet)
        items = self._unmet.pop() if meeting else self._again.popleft()
        if items <= self._size.ceiling.limit:
            took_ns = self._run(items)
            if meeting:
                self._meeting_ns += took_ns
            else:
                self._spend(items, took_ns)
        if meeting:
            self._meet_next()

    def _run(self, items: int) -> int:
        try:
            took_ns = run_probe(self._runner, self._probe, items)
        except (BrokenError, ConfigError) as error:
            raise Poisoned(f"while nobody waited: {error}") from error
        if took_ns is None:
            self._size.sink(items, now_ns())
            return 0
        self._size.add(items, took_ns)
        return took_ns

    def _spend(self, items: int, took_ns: int) -> None:
        self._spent_ns[items] += took_ns
        if self._spent_ns[items] > REPEATING_LIMIT_S * NS_PER_S:
            self._again = deque(each for each in self._again if each != items)

    def _meet_next(self) -> None:
        """Ends the meeting where it is over, or has taken long enough."""
        if self._meeting_ns > MEETING_LIMIT_S * NS_PER_S:
            self._unmet.clear()
        if not self._unmet:
            self._all_met()
            self._all_met = _nothing


def _nothing() -> None:
    """All sizes were met before."""
