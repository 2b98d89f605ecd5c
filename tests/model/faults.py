"""SIGKILL between any two steps: what the kernel does about it, and what others then know."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.changes import changed, replaced, set_frontend
from tests.model.machine import Machine
from tests.model.state import LEASED, Fate, Flight, Instance, State, Supervisor
from tests.model.steps import Step, may


def without_instance(s: State, index: int, *, by_order: bool = False) -> State:
    """The instance is gone, by a kill or by leaving: its pidfd becomes readable to every frontend."""
    gone = s.instances[index]
    deaths, beside = list(s.deaths), list(s.beside)
    if not by_order and gone.name not in s.ordered:
        launched = _on_the_device(s, gone)
        for request in launched:
            deaths[request] += 1
            beside[request] = next((other for other in launched if other != request), 0)
    corpse = Instance(False, "dead", gone.name)
    dead = changed(s, deaths=tuple(deaths), beside=tuple(beside), instances=replaced(s.instances, index, corpse))
    return announced(dead, gone.name)


def _on_the_device(s: State, gone: Instance) -> list[int]:
    """Requests whose launch has begun, and that are not replied to yet."""
    batches = (*gone.flights, Flight(gone.taken, gone.work))
    launched = ((slot, request) for batch in batches for (slot, _), request in zip(batch.taken, batch.work))
    words = ((s.slots[slot], request) for slot, request in launched if request > 0)
    return [request for slot, request in words if slot.state == LEASED and slot.name == gone.name]


def announced(s: State, name: int) -> State:
    """Every living frontend has a death to deal with."""
    for lane, frontend in enumerate(s.frontends):
        if frontend.alive:
            s = set_frontend(s, lane, notices=frontend.notices | {name})
    return s


def steps(m: Machine, s: State) -> Iterator[Step]:
    """Every kill that is still allowed."""
    if s.budget.instance_kills:
        yield from _instance_kills(m, s)
    if s.budget.frontend_kills:
        yield from _frontend_kills(m, s)
    if s.budget.supervisor_kills and s.supervisor.at != "idle":  # idle, it has nothing to lose
        left = changed(s.budget, supervisor_kills=s.budget.supervisor_kills - 1)
        dead = kernel_releases(s, m.supervisor_number)
        yield may("the supervisor is killed, another starts", changed(dead, supervisor=Supervisor(), budget=left))


def _instance_kills(m: Machine, s: State) -> Iterator[Step]:
    left = changed(s, budget=changed(s.budget, instance_kills=s.budget.instance_kills - 1))
    for index, instance in enumerate(s.instances):
        if not instance.alive:
            continue
        dead = without_instance(kernel_releases(left, m.instance_number(index)), index)
        yield may(f"I{index} (name {instance.name}) is killed", dead)
        if not m.rules.act_on_pidfd_only:
            told = f"I{index} (name {instance.name}) is announced dead and still runs"
            yield may(told, announced(left, instance.name))


def _frontend_kills(m: Machine, s: State) -> Iterator[Step]:
    left = changed(s, budget=changed(s.budget, frontend_kills=s.budget.frontend_kills - 1))
    for lane, frontend in enumerate(s.frontends):
        if frontend.alive:
            corpse = m.new_frontend(0, frontend.sent)._replace(alive=False, at="dead")
            dead = kernel_releases(left, m.frontend_number(lane))
            fates = tuple(
                Fate.ORPHANED if fate == Fate.OUTSTANDING and request in frontend.tickets else fate
                for request, fate in enumerate(s.fates)
            )
            yield may(f"F{lane} is killed", changed(dead, fates=fates, frontends=replaced(s.frontends, lane, corpse)))


def kernel_releases(s: State, process: int) -> State:
    """A dead holder's lock is free."""
    return changed(s, lease=0) if s.lease == process else s
