"""Who gets how many instances when several versions share the cores."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.placement import Party, room_of, sizes_of

CPU, GPU = ("cpu",), ("cuda:0", "cuda:1")
PARTY = st.builds(
    Party,
    st.integers(1, 12),
    st.sampled_from([CPU, GPU, ("cuda:0", "cpu"), ("cpu", "cuda:0")]),
    st.booleans(),
)
PARTIES = st.lists(PARTY, max_size=6)


def cost(parties: list[Party], sizes: list[int]) -> int:
    return sum(party.cost(index) for party, size in zip(parties, sizes) for index in range(size))


@settings(max_examples=300)
@given(PARTIES, st.integers(1, 16), st.integers(0, 6))
def test_the_cores_are_never_exceeded_but_for_one_each(parties: list[Party], room: int, occupied: int) -> None:
    sizes = sizes_of(parties, room=room, occupied=occupied)
    assert all(1 <= size <= party.wished for party, size in zip(parties, sizes))
    fits = cost(parties, sizes) + occupied <= room
    costs = [[party.cost(index) for index in range(1, size)] for party, size in zip(parties, sizes)]
    assert fits or not any(map(sum, costs))  # beyond the room nobody has more than the one that everybody has


@settings(max_examples=300)
@given(PARTIES, st.integers(1, 16), st.integers(0, 6))
def test_no_room_is_left_that_somebody_wishes_for(parties: list[Party], room: int, occupied: int) -> None:
    sizes = sizes_of(parties, room=room, occupied=occupied)
    left = room - occupied - cost(parties, sizes)
    for party, size in zip(parties, sizes):
        assert size == party.wished or party.cost(size) > max(0, left)


@settings(max_examples=300)
@given(PARTIES, st.integers(1, 16), st.integers(0, 6))
def test_whoever_leaves_takes_nothing_from_those_who_stay(parties: list[Party], room: int, occupied: int) -> None:
    """Its instances count until they are gone; then there is more room, never less."""
    sizes = sizes_of(parties, room=room, occupied=occupied)
    for leaver, party in enumerate(parties):
        taken = cost([party], [sizes[leaver]])
        stay = parties[:leaver] + parties[leaver + 1 :]
        if any(not each.waits for each in stay) and party.waits:
            continue  # nobody waits for what does not serve
        during = sizes_of(stay, room=room, occupied=occupied + taken)
        after = sizes_of(stay, room=room, occupied=occupied)
        assert sum(during) <= sum(after)


@pytest.mark.parametrize(
    ("parties", "room", "occupied", "expected"),
    [
        ([Party(3, CPU)], 2, 0, [2]),
        ([Party(3, CPU), Party(1, CPU)], 2, 0, [1, 1]),
        ([Party(4, CPU), Party(4, CPU)], 6, 0, [3, 3]),
        ([Party(4, CPU), Party(1, CPU)], 6, 0, [4, 1]),
        ([Party(1, CPU)] * 5, 2, 0, [1, 1, 1, 1, 1]),
        ([Party(4, CPU), Party(4, CPU, waits=True)], 4, 0, [3, 1]),  # a swap on a full machine
        ([Party(4, CPU)], 4, 3, [1]),  # the new version serves, three of the old one are leaving
        ([Party(4, CPU)], 4, 1, [3]),
        ([Party(4, CPU)], 4, 0, [4]),
        ([Party(2, CPU), Party(2, CPU, waits=True)], 8, 0, [2, 2]),
        ([Party(8, GPU), Party(2, CPU)], 2, 0, [8, 2]),
        ([Party(8, ("cuda:0", "cpu"))], 2, 0, [5]),
        ([], 2, 0, []),
    ],
)
def test_shares(parties: list[Party], room: int, occupied: int, expected: list[int]) -> None:
    assert sizes_of(parties, room=room, occupied=occupied) == expected


@pytest.mark.parametrize(("cores", "threads", "room"), [(2, 1, 2), (8, 3, 2), (1, 4, 1), (4, 0, 4)])
def test_room(cores: int, threads: int, room: int) -> None:
    assert room_of(cores=cores, threads=threads) == room
