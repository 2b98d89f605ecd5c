"""With every rule in force nothing goes wrong, whatever is killed between whichever steps."""

from __future__ import annotations

import dataclasses

import pytest

from tests.model import frontend, instance, supervisor
from tests.model.bounds import LARGE, SMALL
from tests.model.explore import explore, never_at_rest
from tests.model.machine import Bounds, Rules
from tests.model.state import Fate, State
from tests.model.steps import Step

MOST_STATES = 6_000_000


@pytest.mark.timeout(1800)
def test_no_interleaving_breaks_the_protocol(bounds: Bounds) -> None:
    result = explore(bounds, Rules(), most_states=MOST_STATES)
    assert not result.violation, str(result)
    assert result.complete, str(result)


@pytest.mark.parametrize(
    "machine",
    [
        Bounds(batch=1),
        Bounds(instance_kills=1, requests=1),
        Bounds(cancels=1, requests=1, instance_kills=1),
        Bounds(in_flight=2, batch=1, instances=1, instance_kills=1, turn_bell=True),
    ],
    ids=str,
)
def test_from_everywhere_there_is_a_way_to_rest(machine: Bounds) -> None:
    assert never_at_rest(machine, Rules()) == 0


def test_nothing_of_the_model_is_dead() -> None:
    """Every place and every fate is reached: what is never visited cannot be found wrong."""
    reached: set[str] = set()

    def note(state: State, steps: list[Step]) -> None:
        reached.update("F " + f.at for f in state.frontends)
        reached.update("I " + i.at for i in state.instances)
        reached.add("S " + state.supervisor.at)
        reached.update(Fate(fate).name for fate in state.fates)

    for bounds in (
        Bounds(cancels=1, instances=1),
        Bounds(instances=1, instance_kills=2, requests=1),
        Bounds(frontend_kills=1, requests=1),
        Bounds(undeploy=True, requests=1, instances=1),
        Bounds(batch=1),
        Bounds(orders=1, requests=1, instances=1),
        Bounds(in_flight=2, batch=1, instances=1),
    ):
        explore(bounds, Rules(), visit=note)
    of_dropped_rules = {"I sign", "I drain", "I drain_to_take", "I start_early", "I start_late", "F ring_early"}
    places = {"F " + at for at in frontend.PLACES} | {"I " + at for at in instance.PLACES}
    places |= {"S " + at for at in supervisor.PLACES} | {fate.name for fate in Fate}
    assert places - reached == of_dropped_rules


def test_a_rule_is_a_switch() -> None:
    assert all(field.type == "bool" for field in dataclasses.fields(Rules))


def test_a_machine_is_named_as_it_is_printed() -> None:
    assert [Bounds.parse(str(machine).split()) for machine in SMALL + LARGE] == [*SMALL, *LARGE]


def test_no_machine_is_explored_twice() -> None:
    assert len(set(SMALL + LARGE)) == len(SMALL + LARGE)
