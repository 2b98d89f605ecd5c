"""One state made from another: every helper gives a new state and leaves the old one alone."""

from __future__ import annotations

from typing import Any

from tests.model.state import Fate, Slot, State


def replaced(values: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    """The tuple with one element changed."""
    return values[:index] + (value,) + values[index + 1 :]


def set_slot(s: State, index: int, **fields: int) -> State:
    return s._replace(slots=replaced(s.slots, index, s.slots[index]._replace(**fields)))


def free_slot(s: State, index: int) -> State:
    """word := (generation + 1, 0, FREE)."""
    return s._replace(slots=replaced(s.slots, index, Slot(generation=s.slots[index].generation + 1)))


def set_frontend(s: State, lane: int, **fields: Any) -> State:
    return s._replace(frontends=replaced(s.frontends, lane, s.frontends[lane]._replace(**fields)))


def set_instance(s: State, index: int, **fields: Any) -> State:
    return s._replace(instances=replaced(s.instances, index, s.instances[index]._replace(**fields)))


def set_fate(s: State, request: int, fate: Fate) -> State:
    return s._replace(fates=replaced(s.fates, request, fate))


def living_names(s: State) -> set[int]:
    return {instance.name for instance in s.instances if instance.alive}
