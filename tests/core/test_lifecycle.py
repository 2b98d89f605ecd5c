"""States of instances, versions and deployments: every event in every state."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest

from engine.core.lifecycle import (
    DeploymentState,
    ExitCode,
    InstanceEvent,
    InstanceState,
    VersionEvent,
    VersionState,
    deployment_state,
)
from engine.errors import InternalError

BOOT = (InstanceEvent.CONNECTED, InstanceEvent.LOADED, InstanceEvent.WARMED)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(InstanceState, InstanceEvent)))
def test_every_event_leads_somewhere_or_is_refused(state: InstanceState, event: InstanceEvent) -> None:
    if state.allows(event):
        assert isinstance(state.after(event), InstanceState)
    else:
        with pytest.raises(InternalError, match=state.value):
            state.after(event)


@pytest.mark.parametrize("length", range(7))
def test_only_the_whole_boot_makes_an_instance_ready(length: int) -> None:
    """All sequences of this length: READY is reached by no other way than connected, loaded, warmed."""
    for events in itertools.product(InstanceEvent, repeat=min(length, 5)):
        state, happened = InstanceState.STARTING, []
        for event in events:
            if state.allows(event):
                state = state.after(event)
                happened.append(event)
        assert (state is InstanceState.READY) == (tuple(happened) == BOOT)
        assert (state is InstanceState.DEAD) == (InstanceEvent.DIED in happened)


@pytest.mark.parametrize("state", [state for state in InstanceState if state is not InstanceState.DEAD])
def test_everybody_can_die(state: InstanceState) -> None:
    assert state.after(InstanceEvent.DIED) is InstanceState.DEAD


@pytest.mark.parametrize("event", InstanceEvent)
def test_the_dead_stay_dead(event: InstanceEvent) -> None:
    assert not InstanceState.DEAD.allows(event)


@pytest.mark.parametrize("state", InstanceState)
def test_booting_is_before_ready(state: InstanceState) -> None:
    can_be_ready = any(
        state is reached
        for reached in (InstanceState.STARTING, InstanceState.LOADING, InstanceState.WARMING)
    )
    assert state.is_booting == can_be_ready


@pytest.mark.parametrize(("state", "event"), list(itertools.product(VersionState, VersionEvent)))
def test_a_version_goes_forward_or_the_event_is_refused(state: VersionState, event: VersionEvent) -> None:
    order = list(VersionState)
    if state.allows(event):
        assert order.index(state.after(event)) > order.index(state)
    else:
        with pytest.raises(InternalError, match=state.value):
            state.after(event)


def test_random_walks_through_the_life_of_a_version_all_tell_the_same_story() -> None:
    """Whatever comes in whatever order: only the whole way leads to the end, and nothing is skipped but serving."""
    seed = random.randrange(2**32)
    print("seed", seed)
    order = random.Random(seed)
    whole = list(VersionEvent)
    ends = set()
    for _ in range(5_000):
        state, happened, states = VersionState.STARTING, [], [VersionState.STARTING]
        for event in order.choices(whole, k=order.randrange(1, 40)):
            if state.allows(event):
                state = state.after(event)
                happened.append(event)
                states.append(state)
        assert happened in (whole[: len(happened)], whole[1 : len(happened) + 1])
        assert len(set(states)) == len(states)
        assert (VersionState.SERVING in states) == (VersionEvent.FIRST_READY in happened)
        assert state.is_open == (VersionEvent.RETIRED not in happened)
        assert state.is_closing == (VersionEvent.RETIRED in happened and VersionEvent.RELEASED not in happened)
        assert (state is VersionState.GONE) == (VersionEvent.RELEASED in happened)
        ends.add(state)
    assert ends == set(VersionState)


def test_the_readme_has_the_table_of_a_version() -> None:
    text = (Path(__file__).resolve().parents[2] / "engine" / "README.md").read_text()
    section = text.partition("## The life of a version\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|", section, re.MULTILINE)
    possible = [
        (state.value, event.value, state.after(event).value)
        for state, event in itertools.product(VersionState, VersionEvent)
        if state.allows(event)
    ]
    assert sorted(rows) == sorted(possible)


@pytest.mark.parametrize("state", VersionState)
def test_users_hear_one_word_for_all_steps_of_closing(state: VersionState) -> None:
    assert state.public in {"starting", "serving", "closing", "gone"}
    assert (state.public == "closing") == state.is_closing
    assert not (state.is_open and state.is_closing)


@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize("count", range(4))
def test_a_deployment_is_what_its_best_version_is(failed: bool, count: int) -> None:
    for states in itertools.product(VersionState, repeat=count):
        seen = deployment_state(states, failed=failed)
        assert (seen is DeploymentState.READY) == (VersionState.SERVING in states)
        if VersionState.SERVING not in states:
            assert (seen is DeploymentState.STARTING) == (VersionState.STARTING in states)
        if not {VersionState.SERVING, VersionState.STARTING} & set(states):
            assert (seen is DeploymentState.FAILED) == failed
            closing = any(state.is_closing for state in states)
            assert (seen is DeploymentState.CLOSING) == (closing and not failed)


def test_exit_codes_are_nobody_elses() -> None:
    """gunicorn's 3 and 4 would stop it, 1 and 2 are the interpreter's, 126 and up the shell's."""
    values = [code.value for code in ExitCode]
    assert len(set(values)) == len(values)
    assert all(value == 0 or 5 <= value < 126 for value in values)
