"""Who computes, of those of one process: nobody behind a lower level, and nobody beside one who suffices."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from engine.core.aging import LEVELS
from engine.core.flight import Flight


@dataclass(eq=False)
class Waits:
    level: int


def flight_of(leading: set[int], waiting: list[int]) -> Flight[Waits]:
    flight: Flight[Waits] = Flight()
    flight.leading |= leading
    flight.followers += [Waits(level) for level in waiting]
    return flight


@pytest.mark.parametrize(
    ("leading", "waiting", "heir"),
    [
        (set(), [], None),
        (set(), [-1, 0, 1, 1], 2),
        (set(), [0, 0, -1], 0),
        ({1}, [1, 0, -1], None),
        ({0}, [0, 1], 1),
        ({-1}, [-1, -1], None),
        ({-1}, [-1, 0], 1),
    ],
)
def test_the_highest_level_that_nobody_leads_for_is_next(
    leading: set[int], waiting: list[int], heir: int | None
) -> None:
    flight = flight_of(leading, waiting)
    found = flight.heir()
    assert (None if found is None else flight.followers.index(found)) == heir


def test_a_flight_is_over_when_nobody_is_left() -> None:
    flight = flight_of({0}, [0])
    assert not flight.is_over
    flight.leading.clear()
    assert not flight.is_over
    assert [each.level for each in flight.take_followers()] == [0]
    assert flight.is_over


@pytest.mark.parametrize("seed", range(200))
def test_once_the_heir_leads_everybody_is_led_for(seed: int) -> None:
    chance = random.Random(seed)
    leading = {level for level in LEVELS if chance.random() < 0.3}
    flight = flight_of(leading, [chance.choice(LEVELS) for _ in range(chance.randrange(6))])
    heir = flight.heir()
    if heir is not None:
        flight.followers.remove(heir)
        flight.leading.add(heir.level)
    assert flight.heir() is None
    assert all(flight.is_led_for(each.level) for each in flight.followers)
