"""How many requests wait, counted seldom and near the bound often enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.client.census import FAR_FACTOR, FRESH_NS, Census
from engine.shm.layout import Geometry, LaneWord
from engine.shm.segment import Segment
from engine.shm.words import READY, pack

NOW_NS = 10**12
BOUND = 10


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment.create(Geometry(lanes=2, slots=4, payload_bytes=64, reply_bytes=16))
    yield made
    made.close()


def wait_in_slots(segment: Segment, count: int) -> None:
    for index in range(count):
        segment.tables.word[index] = pack(0, 0, READY)


@pytest.fixture
def census(segment: Segment) -> Iterator[Census]:
    made = Census(segment)
    yield made
    made.close()


def test_slots_and_those_without_one_count_over_all_lanes(segment: Segment, census: Census) -> None:
    wait_in_slots(segment, 6)
    segment.lane_row(0)[LaneWord.WAITING] = 2
    segment.lane_row(1)[LaneWord.WAITING] = 3
    assert census.waiting(NOW_NS, BOUND) == census.count_anew(NOW_NS) == 11


@pytest.mark.parametrize(("waiting", "fresh_ns"), [(5, FRESH_NS), (4, FAR_FACTOR * FRESH_NS)])
def test_a_count_is_kept_for_long_only_far_from_the_bound(
    segment: Segment, census: Census, waiting: int, fresh_ns: int
) -> None:
    wait_in_slots(segment, waiting)
    assert census.waiting(NOW_NS, BOUND) == waiting
    segment.lane_row(0)[LaneWord.WAITING] = 1  # added elsewhere
    assert census.waiting(NOW_NS + fresh_ns - 1, BOUND) == waiting
    assert census.waiting(NOW_NS + fresh_ns, BOUND) == waiting + 1


def test_what_this_process_adds_counts_at_once(segment: Segment, census: Census) -> None:
    census.count_anew(NOW_NS)
    census.added()
    assert census.waiting(NOW_NS, BOUND) == 1
    assert census.count_anew(NOW_NS) == 0  # it has been taken meanwhile
