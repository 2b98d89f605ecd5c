"""Which requests have a place among the slowest."""

from __future__ import annotations

import random

from engine.core.slowest import Slowest

KEEP_NS = 60


def test_the_slowest_have_the_places() -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    took = rng.sample(range(10_000), 500)
    slowest, places = Slowest(8, KEEP_NS), dict[int, int]()
    for one in took:
        place = slowest.place(one, 0)
        if place is not None:
            places[place] = one
    assert sorted(places.values()) == sorted(took)[-8:], f"seed {seed}"


def test_one_that_is_kept_long_enough_gives_way_to_a_quicker_one() -> None:
    slowest = Slowest(2, KEEP_NS)
    assert {slowest.place(900, 0), slowest.place(800, 0)} == {0, 1}
    assert slowest.place(5, KEEP_NS - 1) is None
    assert slowest.place(5, KEEP_NS) is not None
