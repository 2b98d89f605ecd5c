"""An instance until its batch is leased: asleep, a look without the lease, the look under it, the marks.

Each function is one place where an instance can stand (`at`), and gives the steps possible from there. The look under
the lease is one step: READY words stay READY there, and one that appears after its word was read is followed by its
own bell. Without the lease words come and go, so that look is a step a slot.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.changes import changed, set_instance, set_slot
from tests.model.computing import staged
from tests.model.faults import without_instance
from tests.model.machine import Machine
from tests.model.state import LEASED, READY, STATE_NAMES, State
from tests.model.steps import Step, must, violation

Steps = Iterator[Step]


def sleep(m: Machine, s: State, j: int) -> Steps:
    if s.detaching:
        yield _leave(s, j)
    elif s.doorbell:
        drained = changed(s, doorbell=False) if m.rules.drain_before_look and m.rules.drain_before_peek else s
        yield must(f"I{j} wakes", set_instance(drained, j, at="peek" if m.rules.drain_before_look else "lease"))


def peek(m: Machine, s: State, j: int) -> Steps:
    """Without the lease: something READY is a reason to take it; nothing, after a drain, is a reason to sleep."""
    me = s.instances[j]
    if s.detaching:
        yield _takes_no_more(s, j)
    elif s.slots[me.cursor].state == READY:
        at = "lease" if m.rules.drain_before_peek or me.flights else "drain_to_take"
        yield must(f"I{j} sees slot {me.cursor} READY", set_instance(s, j, at=at, cursor=0))
    elif me.cursor + 1 < len(s.slots):
        yield must(f"I{j} passes slot {me.cursor}", set_instance(s, j, cursor=me.cursor + 1))
    else:
        asleep = "sleep" if m.rules.drain_before_peek else "drain"
        at = "compute" if me.flights and m.rules.finish_before_sleep else asleep
        yield must(f"I{j} sees nothing READY, {at} next", set_instance(s, j, at=at, cursor=0))


def lease(m: Machine, s: State, j: int) -> Steps:
    if s.detaching:
        yield _takes_no_more(s, j)
    elif not s.lease:
        yield must(f"I{j} takes the lease", set_instance(changed(s, lease=m.instance_number(j)), j, at="look"))
    elif not m.rules.wait_for_lease:
        yield must(f"I{j} finds the lease busy and sleeps", set_instance(s, j, at="sleep"))


def _takes_no_more(s: State, j: int) -> Step:
    """What is in flight is finished first."""
    if s.instances[j].flights:
        return must(f"I{j} takes no more", set_instance(s, j, at="compute", cursor=0))
    return _leave(s, j)


def _leave(s: State, j: int) -> Step:
    return must(f"I{j} detaches", without_instance(s, j))


def look(m: Machine, s: State, j: int) -> Steps:
    """Chooses one batch; an isolated slot goes alone."""
    ready = [index for index, slot in enumerate(s.slots) if slot.state == READY]
    chosen = ready[: m.bounds.batch]
    if m.rules.isolated_alone and any(s.slots[index].isolate for index in chosen):
        chosen = ready[:1] if s.slots[ready[0]].isolate else [i for i in chosen if not s.slots[i].isolate]
    taken = tuple((index, s.slots[index].generation) for index in chosen)
    seen = set_instance(s, j, at="mark" if taken else "release", taken=taken, left=len(ready) > len(chosen))
    yield must(f"I{j} chooses slots {chosen}", seen)


def mark(m: Machine, s: State, j: int) -> Steps:
    me = s.instances[j]
    index, generation = me.taken[me.cursor]
    slot = s.slots[index]
    if (slot.state, slot.generation) != (READY, generation):
        yield violation(f"I{j} leases slot {index}, which is {STATE_NAMES[slot.state]} by now", s)
    name = me.name if m.rules.one_word else 0
    leased = set_slot(s, index, state=LEASED, name=name)
    text = f"I{j} slot {index} := LEASED by {name}"
    yield must(text, _next_mark(leased, j) if m.rules.one_word else set_instance(leased, j, at="sign"))


def sign(m: Machine, s: State, j: int) -> Steps:
    """Only where the lessee is a word of its own."""
    me = s.instances[j]
    signed = set_slot(s, me.taken[me.cursor][0], name=me.name)
    yield must(f"I{j} slot {me.taken[me.cursor][0]} lessee := {me.name}", _next_mark(signed, j))


def _next_mark(s: State, j: int) -> State:
    me = s.instances[j]
    if me.cursor + 1 < len(me.taken):
        return set_instance(s, j, at="mark", cursor=me.cursor + 1)
    return set_instance(s, j, at="release", cursor=0)


def release(m: Machine, s: State, j: int) -> Steps:
    me, text = s.instances[j], f"I{j} releases the lease"
    released = set_instance(changed(s, lease=0), j, left=False)
    if me.left and m.rules.ring_when_left:
        yield must(text, set_instance(released, j, at="ring"))
    elif me.taken:
        yield must(text, staged(m, released, j))
    else:
        at = "compute" if me.flights else "sleep" if m.rules.drain_before_look else "drain"
        yield must(f"{text}, {at} next", set_instance(released, j, at=at))


def ring(m: Machine, s: State, j: int) -> Steps:
    """Who leaves work has taken some: an empty batch leaves nothing."""
    yield must(f"I{j} rings: work is left", staged(m, changed(s, doorbell=True), j))


def drain(m: Machine, s: State, j: int) -> Steps:
    """Only where the doorbell is drained after a look."""
    yield must(f"I{j} drains the doorbell and sleeps", set_instance(changed(s, doorbell=False), j, at="sleep"))


def drain_to_take(m: Machine, s: State, j: int) -> Steps:
    """Only where the doorbell is drained between the two looks."""
    yield must(f"I{j} drains the doorbell", set_instance(changed(s, doorbell=False), j, at="lease"))
