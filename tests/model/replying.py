"""An instance from an answer to the reply bell: reply area, REPLIED, bell, each for the whole batch."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.changes import changed, holds, replaced, set_instance, set_slot
from tests.model.computing import onward, phases
from tests.model.machine import Machine
from tests.model.state import REPLIED, State
from tests.model.steps import Step, must, violation

Steps = Iterator[Step]


def area(m: Machine, s: State, j: int) -> Steps:
    me = s.instances[j]
    index = me.taken[me.cursor][0]
    if _check_first(m, me.checked):
        yield _check(m, s, j)
        return
    if m.rules.area_before_word and not m.rules.generation_check and not holds(s, j, me.taken[me.cursor]):
        yield violation(f"I{j} writes the reply area of slot {index}, which it does not hold", s)
    reply = me.work[me.cursor]
    yield must(f"I{j} slot {index} reply := {reply}", _next_in(m, set_slot(s, index, reply=reply), j, "area"))


def word(m: Machine, s: State, j: int) -> Steps:
    me = s.instances[j]
    index, generation = me.taken[me.cursor]
    if _check_first(m, me.checked):
        yield _check(m, s, j)
        return
    if not holds(s, j, me.taken[me.cursor]):
        yield violation(f"I{j} slot {index} := REPLIED, which it does not hold", s)
    replied = set_slot(s, index, state=REPLIED, generation=generation, name=0)
    yield must(f"I{j} slot {index} := REPLIED", _next_in(m, replied, j, "word"))


def bell(m: Machine, s: State, j: int) -> Steps:
    """Each lane's reply bell once."""
    me = s.instances[j]
    lanes = sorted({m.lane_of(index) for index, _ in me.taken})
    rung = changed(s, reply_bells=replaced(s.reply_bells, lanes[me.cursor], True))
    last = me.cursor + 1 == len(lanes)
    moved = _next_phase(m, rung, j, "bell") if last else set_instance(rung, j, cursor=me.cursor + 1)
    yield must(f"I{j} rings reply bell {lanes[me.cursor]}", moved)


def _next_in(m: Machine, s: State, j: int, phase: str) -> State:
    """The next slot of this phase, or the next phase."""
    me = s.instances[j]
    if me.cursor + 1 < len(me.taken):
        return set_instance(s, j, cursor=me.cursor + 1, checked=False)
    return _next_phase(m, s, j, phase)


def _next_phase(m: Machine, s: State, j: int, phase: str) -> State:
    order = phases(m)
    following = order.index(phase) + 1
    if following < len(order):
        return set_instance(s, j, at=order[following], cursor=0, checked=False)
    return onward(m, s, j)


def _check_first(m: Machine, checked: bool) -> bool:
    return m.rules.generation_check and not checked


def _check(m: Machine, s: State, j: int) -> Step:
    """Read the word again: go on if it is still ours, else leave the slot alone."""
    me = s.instances[j]
    if holds(s, j, me.taken[me.cursor]):
        return must(f"I{j} checks slot {me.taken[me.cursor][0]}: still its own", set_instance(s, j, checked=True))
    return must(f"I{j} leaves slot {me.taken[me.cursor][0]} alone", _next_in(m, s, j, me.at))
