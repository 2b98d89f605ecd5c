"""Whether an instance that could take a few requests waits a moment for more of them.

Waiting never makes up for itself where requests come one by one: while a batch computes the next one forms. But those
whose answers came together ask again together, a moment later. Whoever takes the first of them alone computes batches
of one and of all others in turn for ever, which costs twice the time where a batch costs something by itself. So an
instance that has just answered several looks how many come within a short while, at no cost, and begins to wait for as
many once the time of all of them would be shorter. On an instance that has had nothing to do nobody ever waits.
"""

from __future__ import annotations

from engine.core.batch_size import BatchSize

WINDOW = 1 / 4  # of the time of a full batch: the longest wait, whatever the settings allow
PAYS = 0.9  # of the waiting of all without it: strangers, who come by chance, are seldom worth it then
SHORTEST_NS = 10**6  # what a wait can be told in; where that is much of a batch's time nobody waits
_FOLLOWS = 1 / 4  # of what came lately, that the last time counts


class Company:
    """Of one instance, which asks `wanted` and says what it saw. Equation: 0 <= window_ns <= longest_ns."""

    def __init__(self, size: BatchSize, longest_ns: int) -> None:
        self._size = size
        self._longest_ns = longest_ns
        self._expected = 0.0  # how many come within the window
        self.answered = 0  # items of the last batch; where that is 1 nobody is waited for
        self.answered_ns = 0  # when that was; of one item alone nobody asks
        self.window_ns = 0  # of the last look
        self.since_ns = 0  # when a look began whose outcome is not known; 0: there is none

    def wanted(self, ready: int, now_ns: int) -> int:
        """How many are to be READY before a batch is taken, within `window_ns` from now on; 0: it is taken now."""
        aim = self._size.aim
        self.window_ns = min(self._longest_ns, int(self._size.batch_ns(aim) * WINDOW))
        late = now_ns - self.answered_ns > self.window_ns
        if ready >= aim or self.answered < 2 or self.window_ns < SHORTEST_NS or late:
            return 0
        self.since_ns = now_ns
        more = min(round(self._expected), aim - ready)
        return ready + more if more and self._pays(ready, more) else 0

    def came(self, more: int) -> None:
        """So many have come within the window."""
        self.since_ns = 0
        self._expected += (more - self._expected) * _FOLLOWS

    def _pays(self, ready: int, more: int) -> bool:
        """Whether waiting is sooner done with all of them, and their waiting is less in sum."""
        first_ns, second_ns, both_ns = (self._size.batch_ns(items) for items in (ready, more, ready + more))
        waiting_ns = self.window_ns + both_ns
        in_turn_ns = first_ns + second_ns
        sum_ns = ready * first_ns + more * in_turn_ns
        return waiting_ns < in_turn_ns and (ready + more) * waiting_ns < PAYS * sum_ns
