"""Whether it is worth asking the cache, decided before the file is hashed: hashing is most of what asking costs.

Worth it is what saves more than it costs, both as measured: `hit rate * saving > cost`. The hit rate is that of what
was asked lately; of what was not asked, those count that look like files which were here before (`Repeats`). While it
is not worth it a sample is asked all the same, and so are such repeats, so that it is taken up again when repeats come.

A process begins by asking. What costs less than a hundredth of what it may save is always asked: no traffic shows by
then what the next night brings.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.repeats import Repeats

SAMPLED_EVERY = 64  # of what is not worth it one is asked all the same: repeats are noticed without
LOOKED_AT_EVERY = 4  # of what is not worth it: a look alone takes a hundredth of the time of a small model
DECIDED_EVERY = 8  # requests: an average moves little meanwhile
CHEAP_SHARE = 0.01  # of the saving
_FIRST_HIT_RATE = 0.5  # arbitrary: it is asked until this is forgotten
_STEP = 1 / 64  # of an average: what happened some hundred requests ago is forgotten
_OUTLIER = 8.0  # times the average: more is counted as this much, or one stop of the machine would decide


class LookupChoice(NamedTuple):
    """What to do for one request; where `l1` is False the file is neither hashed, looked up nor kept."""

    l1: bool
    l2: bool
    look: int
    is_repeat: bool  # it looks like a file that was here before
    was_kept: bool  # and the answer of that one was kept


class LevelFigures:
    """What was measured of one level of the cache."""

    def __init__(self) -> None:
        self.cost_ns = 0.0  # of one question, average
        self.hit_rate = _FIRST_HIT_RATE
        self._left_out = 0

    def took(self, cost_ns: float) -> None:
        """A question took so long."""
        self.cost_ns = _average(self.cost_ns, cost_ns)

    def learn(self, hit: bool) -> None:
        """What came of one."""
        self.hit_rate += (hit - self.hit_rate) * _STEP

    def gain_ns(self, hit_rate: float, saving_ns: float) -> float:
        """What one more question is worth, on average; negative: it costs more than it saves."""
        if self.cost_ns <= CHEAP_SHARE * saving_ns:
            return max(0.0, hit_rate * saving_ns - self.cost_ns)
        return hit_rate * saving_ns - self.cost_ns

    def is_turn_of_sample(self) -> bool:
        """Whether this one is asked though it is not worth it."""
        self._left_out = (self._left_out + 1) % SAMPLED_EVERY
        return self._left_out == 0


class Bypass:
    """Of one deployment in one process, both levels. Not thread-safe: averages, which two threads may mix up."""

    def __init__(self, *, has_l2: bool) -> None:
        self.l1 = LevelFigures()  # its hit rate is that of files that look new; its cost has the hash in it
        self.l2 = LevelFigures()  # its hit rate is that of what L1 does not have
        self.saving_ns = 0.0  # average; 0: not known yet
        self.repeat_share = 0.0  # of all requests, asked or not
        self.repeat_hit_rate = 1.0  # of repeats whose answer was kept: how far looks are to be trusted
        self.skips_l1 = False  # whether most requests do without the cache just now; written by `_decide`, as all below
        self.skips_l2 = False  # whether most of those that L1 does not have do without L2
        self._repeats_pay = True
        self._has_l2 = has_l2
        self._repeats = Repeats()
        self._chosen = 0
        self._passed_over = 0

    @property
    def hit_rate(self) -> float:
        """Of L1, if it were asked, and were told, everything."""
        return self.repeat_share * self.repeat_hit_rate + (1 - self.repeat_share) * self.l1.hit_rate

    def passes_over(self) -> bool:
        """Whether to do without the cache and without a look at the file. Of those that are passed over nothing is
        learnt: what comes again and again is seen among the others."""
        if not self.skips_l1:
            return False
        self._passed_over = (self._passed_over + 1) % LOOKED_AT_EVERY
        return self._passed_over != 0

    def choose(self, look: int) -> LookupChoice:
        """What to do for a file that looks like this: see `look_of`."""
        self._chosen += 1
        if self._chosen % DECIDED_EVERY == 0:
            self._decide()
        is_repeat, was_kept = self._repeats.see(look)
        self.repeat_share += (is_repeat - self.repeat_share) * _STEP
        asks = not self.skips_l1 or (is_repeat and self._repeats_pay) or self.l1.is_turn_of_sample()
        asks_l2 = asks and self._has_l2 and (not self.skips_l2 or self.l2.is_turn_of_sample())
        return LookupChoice(asks, asks_l2, look, is_repeat, was_kept)

    def asked_l1(self, choice: LookupChoice, *, cost_ns: int, hit: bool) -> None:
        """L1 was asked, which took `cost_ns` with the hash."""
        self.l1.took(cost_ns)
        if not choice.is_repeat:
            self.l1.learn(hit)
        elif choice.was_kept or hit:
            self.repeat_hit_rate += (hit - self.repeat_hit_rate) * _STEP
        if choice.l2 and not hit:
            self.l2.learn(False)  # until it answers: one that is away has nothing

    def asked_l2(self, *, cost_ns: int, hit: bool) -> None:
        """L2 has answered, which took this process `cost_ns` of work. After `asked_l1` of the same request."""
        self.l2.took(cost_ns)
        if hit:
            self.l2.hit_rate = min(1.0, self.l2.hit_rate + _STEP)  # makes of the miss a hit

    def kept(self, choice: LookupChoice) -> None:
        """The answer was kept."""
        self._repeats.keep(choice.look)

    def computed(self, cost_ns: int) -> None:
        """An answer was computed, which took `cost_ns` of work more than one from the cache does."""
        self.saving_ns = _average(self.saving_ns, cost_ns)

    def _decide(self) -> None:
        if self.saving_ns <= 0:
            return
        l2_gain_ns = self.l2.gain_ns(self.l2.hit_rate, self.saving_ns)
        beyond_ns = (1 - self.hit_rate) * max(0.0, l2_gain_ns) if self._has_l2 else 0.0
        self.skips_l2 = l2_gain_ns < 0
        self.skips_l1 = self.l1.gain_ns(self.hit_rate, self.saving_ns) + beyond_ns < 0
        self._repeats_pay = self.l1.gain_ns(self.repeat_hit_rate, self.saving_ns) > 0


def _average(average: float, value: float) -> float:
    if average <= 0:
        return float(value)
    return average + (min(float(value), _OUTLIER * average) - average) * _STEP
