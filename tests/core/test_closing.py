"""How a version closes, by random walks: processes that let go, die and come back in any order."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from engine.core.closing import ClosingView, closing_event
from engine.core.lifecycle import VersionEvent, VersionState

STEPS = [VersionEvent.DRAINED, VersionEvent.VACATED, VersionEvent.RELEASED]


@dataclass
class World:
    """What a version that closes has around it. Nothing of it ever grows, as in an engine."""

    holding: int
    working: int
    leaving: int
    time_is_up: bool = False
    all_back: bool = False

    def view(self) -> ClosingView:
        return ClosingView(
            holding=self.holding,
            working=self.working,
            living=self.working + self.leaving,
            time_is_up=self.time_is_up,
            all_back=self.all_back,
        )

    def happen(self, order: random.Random) -> None:
        """Something, or nothing."""
        what = order.randrange(6)
        if what == 0:
            self.holding = max(0, self.holding - 1)
        elif what == 1:
            self.working = max(0, self.working - 1)  # killed
        elif what == 2:
            self.leaving = max(0, self.leaving - 1)
        elif what == 3:
            self.time_is_up = True
        elif what == 4:
            self.all_back = True

    def dismiss(self) -> None:
        self.leaving, self.working = self.leaving + self.working, 0


def look(state: VersionState, world: World, seen: list[VersionEvent]) -> VersionState:
    """All steps that are due, as the supervisor takes them."""
    while (event := closing_event(state, world.view())) is not None:
        if event is VersionEvent.DRAINED:
            assert world.time_is_up or not (world.holding and world.working)
            world.dismiss()
        if event is VersionEvent.RELEASED:
            assert world.all_back
            assert world.holding == world.working + world.leaving == 0
        state = state.after(event)
        seen.append(event)
    return state


def test_whatever_happens_a_version_closes_in_three_steps_and_lets_nobody_down() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    order = random.Random(seed)
    for _ in range(5_000):
        world = World(order.randrange(4), order.randrange(4), order.randrange(3))
        state, seen = VersionState.DRAINING, list[VersionEvent]()
        for _ in range(order.randrange(1, 60)):
            state = look(state, world, seen)
            assert seen == STEPS[: len(seen)]
            assert state is VersionState.DRAINING or not world.working
            world.happen(order)
        world = World(0, 0, 0, time_is_up=True, all_back=True)
        assert look(state, world, seen) is VersionState.GONE
        assert seen == STEPS


@pytest.mark.parametrize("holding", [0, 1])
@pytest.mark.parametrize("working", [0, 1])
@pytest.mark.parametrize("time_is_up", [False, True])
def test_instances_work_on_exactly_as_long_as_somebody_waits(holding: int, working: int, time_is_up: bool) -> None:
    view = ClosingView(holding=holding, working=working, living=1, time_is_up=time_is_up, all_back=True)
    stays = bool(holding and working and not time_is_up)
    assert (closing_event(VersionState.DRAINING, view) is None) == stays


@pytest.mark.parametrize(
    "state", [VersionState.STARTING, VersionState.SERVING, VersionState.RETIRED, VersionState.GONE]
)
def test_nothing_happens_to_a_version_by_itself_before_it_was_announced(state: VersionState) -> None:
    """Before everybody has been told who still has something in it is not known."""
    view = ClosingView(holding=0, working=0, living=0, time_is_up=True, all_back=True)
    assert closing_event(state, view) is None
