"""Which lines are written, and what is told of the rest."""

from __future__ import annotations

import random

from engine.core.log_repeats import LogRepeats

INTERVAL_NS = 10


def test_the_first_is_written_and_the_others_are_told_once_the_time_is_over() -> None:
    repeats = LogRepeats[str](INTERVAL_NS)
    assert [repeats.note("a", "A", now) for now in range(5)] == [True] + [False] * 4
    assert repeats.note("b", "B", 3)
    assert repeats.counting and [repeats.over(now) for now in (9, 10)] == [[], [("A", 4)]]
    assert repeats.note("a", "A", 10) and repeats.over(100) == []


def test_every_line_is_written_or_counted_and_memory_is_bounded() -> None:
    seed = random.randrange(10**6)
    rng, repeats = random.Random(seed), LogRepeats[int](INTERVAL_NS)
    written = told = 0
    for now in range(20_000):
        told += sum(count for _, count in repeats.over(now // 50))
        key = rng.randrange(600)
        written += repeats.note(key, key, now // 50)
        assert len(repeats._seen) <= 256
    told += sum(count for _, count in repeats.over(10**9))
    assert written + told == 20_000 and told > 0, f"seed {seed}"
