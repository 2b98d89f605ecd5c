"""The supervisor: restarts and kills instances, sweeps and hands over lanes of dead frontends, closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.changes import changed, free_slot, living_names, replaced
from tests.model.faults import kernel_releases, without_instance
from tests.model.machine import Machine
from tests.model.state import FREE, LEASED, STATE_NAMES, Slot, State, Supervisor
from tests.model.steps import Kind, Step, may, must

Steps = Iterator[Step]


def steps(m: Machine, s: State) -> Steps:
    """Everything the supervisor may do next."""
    return PLACES[s.supervisor.at](m, s)


def idle(m: Machine, s: State) -> Steps:
    if m.bounds.undeploy:
        yield from _undeploys(s)
    if not s.closing:
        yield from _restarts(m, s)
    if s.budget.orders:
        yield from _orders(m, s)
    for lane, frontend in enumerate(s.frontends):
        if not frontend.alive:
            yield from _lane_of_the_dead(m, s, lane)


def _undeploys(s: State) -> Steps:
    if not s.closing:
        yield may("the supervisor sets closing", changed(s, closing=True))
    elif not s.detaching:
        outstanding = any(any(frontend.tickets) for frontend in s.frontends if frontend.alive)
        text = "the deadline of closing passes" if outstanding else "nothing is outstanding"
        yield Step(Kind.MAY if outstanding else Kind.MUST, text + ": instances detach", changed(s, detaching=True))


def _restarts(m: Machine, s: State) -> Steps:
    """Bound to come only if nobody else serves: what the living should do must not wait for a restart."""
    somebody = any(instance.alive for instance in s.instances)
    for index, instance in enumerate(s.instances):
        if not instance.alive:
            names = s.names + 1 if m.rules.fresh_names else s.names
            name = names if m.rules.fresh_names else instance.name
            born = changed(s, names=names, instances=replaced(s.instances, index, m.new_instance(name)))
            yield Step(Kind.MAY if somebody else Kind.MUST, f"I{index} is restarted as {name}", born)


def _orders(m: Machine, s: State) -> Steps:
    """Two steps, the order and the kill; the supervisor may die in between."""
    for index, instance in enumerate(s.instances):
        if instance.alive:
            left = changed(s, budget=changed(s.budget, orders=s.budget.orders - 1))
            if m.rules.order_before_kill:
                written = changed(left, ordered=s.ordered | {instance.name}, supervisor=Supervisor("kill", index))
                yield may(f"the supervisor writes: the death of {instance.name} is ordered", written)
            else:
                yield may(f"the supervisor kills {instance.name}", _killed(m, left, index))


def kill(m: Machine, s: State) -> Steps:
    """The one whose death it has just ordered, which may be dead by now."""
    index, done = s.supervisor.lane, changed(s, supervisor=Supervisor())
    if s.instances[index].alive and s.instances[index].name in s.ordered:
        done = _killed(m, done, index)
    yield must(f"the supervisor kills I{index}", done)


def _killed(m: Machine, s: State, index: int) -> State:
    return without_instance(kernel_releases(s, m.instance_number(index)), index, by_order=True)


def _lane_of_the_dead(m: Machine, s: State, lane: int) -> Steps:
    slots = [s.slots[index] for index in m.lane_slots(lane)]
    if all(slot.state == FREE for slot in slots):
        if not s.closing:
            heir = m.new_frontend(m.bounds.successor_requests, s.frontends[lane].sent)
            told = f"lane {lane} is handed to a new frontend"
            yield must(told, changed(s, frontends=replaced(s.frontends, lane, heir)))
    elif any(_sweepable(m, s, slot) for slot in slots):
        yield must(f"lane {lane} is to be swept", changed(s, supervisor=Supervisor("lease", lane)))


def _sweepable(m: Machine, s: State, slot: Slot) -> bool:
    """Not what the living still hold: their reply would land in the next owner's slot."""
    held = slot.state == LEASED and slot.name in living_names(s) and m.rules.hand_over_when_free
    return slot.state != FREE and not held


def lease(m: Machine, s: State) -> Steps:
    if not m.rules.sweep_under_lease:
        yield must("the supervisor sweeps at once", changed(s, supervisor=changed(s.supervisor, at="sweep")))
    elif not s.lease:
        held = changed(s, lease=m.supervisor_number, supervisor=changed(s.supervisor, at="sweep"))
        yield must("the supervisor takes the lease", held)


def sweep(m: Machine, s: State) -> Steps:
    """One slot a step."""
    me = s.supervisor
    if me.cursor == m.bounds.slots:
        released = changed(s, lease=0) if m.rules.sweep_under_lease else s
        yield must("the supervisor releases the lease", changed(released, supervisor=Supervisor()))
        return
    index = m.lane_slots(me.lane)[me.cursor]
    slot, moved = s.slots[index], changed(s, supervisor=changed(me, cursor=me.cursor + 1))
    if _sweepable(m, s, slot):
        yield must(f"the supervisor frees slot {index}, {STATE_NAMES[slot.state]}", free_slot(moved, index))
    else:
        yield must(f"the supervisor leaves slot {index}, {STATE_NAMES[slot.state]}", moved)


PLACES: dict[str, Callable[[Machine, State], Steps]] = {"idle": idle, "kill": kill, "lease": lease, "sweep": sweep}
