"""States of instances, versions and deployments: every event in every state."""

from __future__ import annotations

import itertools

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
def test_a_version_never_comes_back(state: VersionState, event: VersionEvent) -> None:
    order = list(VersionState)
    try:
        following = state.after(event)
    except InternalError:
        return
    assert order.index(following) >= order.index(state)


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


def test_exit_codes_are_nobody_elses() -> None:
    """gunicorn's 3 and 4 would stop it, 1 and 2 are the interpreter's, 126 and up the shell's."""
    values = [code.value for code in ExitCode]
    assert len(set(values)) == len(values)
    assert all(value == 0 or 5 <= value < 126 for value in values)
