"""What is noted of a flood."""

from __future__ import annotations

import random

import pytest

from engine.core.thinning import Thinning

INTERVAL_NS = 10


def test_a_burst_passes_whole_and_then_one_an_interval() -> None:
    thinning = Thinning(burst=5, interval_ns=INTERVAL_NS)
    assert [thinning.lets(1_000) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [thinning.lets(1_000 + INTERVAL_NS * k) for k in range(1, 4)] == [True] * 3
    assert not thinning.lets(1_000 + INTERVAL_NS * 3)


def test_after_a_pause_a_whole_burst_passes_again() -> None:
    thinning = Thinning(burst=5, interval_ns=INTERVAL_NS)
    assert sum(thinning.lets(0) for _ in range(10)) == 5
    assert sum(thinning.lets(1_000_000) for _ in range(10)) == 5


@pytest.mark.parametrize("seed", range(20))
def test_no_stretch_of_time_has_more_than_a_burst_and_its_share(seed: int) -> None:
    draw = random.Random(seed)
    burst = draw.randint(1, 20)
    thinning, now, passed = Thinning(burst, INTERVAL_NS), 0, list[int]()
    for _ in range(2_000):
        now += draw.choice((0, 1, 3, 50))
        if thinning.lets(now):
            passed.append(now)
    for k, begin in enumerate(passed):
        for end in range(k, min(k + 200, len(passed))):
            assert end - k + 1 <= burst + (passed[end] - begin) // INTERVAL_NS + 1
