"""How far a version that closes has come: what has happened to it, told from what there is to see.

It goes by steps, each waiting for something else: its frontends for their answers, its instances for the end of their
batch, the segment for the last frontend that lets go of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.lifecycle import VersionEvent, VersionState


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingView:
    """What there is to see of a version that closes, at one moment."""

    holding: int  # frontends that have something outstanding in it
    working: int  # instances that take work
    living: int  # instances that are not dead, those that leave included
    time_is_up: bool  # nobody is waited for any longer
    all_back: bool  # no peer of a predecessor may still come and have it


def closing_event(state: VersionState, view: ClosingView) -> VersionEvent | None:
    """What is now true of it and was not when it came into `state`; None while it has to wait.

    Whoever asks carries it out and asks again, until there is nothing more.
    """
    if state is VersionState.DRAINING and (view.time_is_up or not view.holding or not view.working):
        return VersionEvent.DRAINED
    if state is VersionState.DISMISSED and not view.living:
        return VersionEvent.VACATED
    # A peer of a predecessor that still has this version would bring it back, and what an older one has counted cannot
    # be told from what this one carries.
    if state is VersionState.VACANT and not view.holding and view.all_back:
        return VersionEvent.RELEASED
    return None
