"""Breadth-first exploration: every interleaving within the bounds, and the shortest way to what goes wrong."""

from __future__ import annotations

import contextlib
import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.model import faults, frontend, instance, supervisor
from tests.model.machine import Bounds, Machine, Rules
from tests.model.state import FREE, READY, STATE_NAMES, Fate, State
from tests.model.steps import Kind, Step


@dataclass(frozen=True, kw_only=True)
class Result:
    """`violation` is empty when nothing goes wrong; `complete` says that every state was visited."""

    bounds: Bounds
    states: int
    elapsed_s: float
    complete: bool
    violation: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        outcome = self.violation or ("no violation" if self.complete else "not finished, no violation so far")
        lines = [f"{outcome} [{self.bounds}; {self.states} states, {self.elapsed_s:.1f} s]"]
        return "\n".join([*lines, *(f"  {number:3} {text}" for number, text in enumerate(self.trace, 1))])


def successors(m: Machine, s: State) -> list[Step]:
    """Everything that may happen next."""
    found: list[Step] = []
    for lane in range(m.bounds.frontends):
        found += frontend.steps(m, s, lane)
    for index in range(m.bounds.instances):
        found += instance.steps(m, s, index)
    found += supervisor.steps(m, s)
    found += faults.steps(m, s)
    return found


def explore(
    bounds: Bounds,
    rules: Rules,
    *,
    most_states: int = 10**9,
    visit: Callable[[State, list[Step]], None] = lambda state, steps: None,
) -> Result:
    """Visits states nearest first, until something goes wrong, all are visited, or there are too many."""
    machine, began = Machine(bounds, rules), time.perf_counter()
    initial = machine.initial()
    came_from: dict[State, State | None] = {initial: None}
    queue = deque([initial])
    found = ""
    with _without_collector():
        while queue and not found and len(came_from) < most_states:
            state = queue.popleft()
            steps = successors(machine, state)
            visit(state, steps)
            found = next((step.text for step in steps if step.kind is Kind.VIOLATION), "")
            found = found or at_rest(machine, state, steps)
            for step in steps:
                known = len(came_from)
                came_from.setdefault(step.state, state)  # a state is long: hashed once, not once to ask and once to add
                if len(came_from) > known:
                    queue.append(step.state)
    return Result(
        bounds=bounds,
        states=len(came_from),
        elapsed_s=time.perf_counter() - began,
        complete=not queue and not found,
        violation=found,
        trace=(*_texts(machine, came_from, state), found) if found else (),
    )


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of tuples without a cycle among them: the collector would only walk them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _texts(m: Machine, came_from: dict[State, State | None], last: State) -> Iterator[str]:
    path: list[State] = [last]
    while (previous := came_from[path[-1]]) is not None:
        path.append(previous)
    path.reverse()
    for before, after in zip(path, path[1:]):
        yield next(step.text for step in successors(m, before) if step.state == after)


def never_at_rest(bounds: Bounds, rules: Rules) -> int:
    """How many states have no way to rest by what is bound to come: a wake-up that goes round for ever."""
    before: dict[State, list[State]] = {}
    reaching: list[State] = []

    def note(state: State, steps: list[Step]) -> None:
        bound = [step.state for step in steps if step.kind is not Kind.MAY]
        for following in bound:
            before.setdefault(following, []).append(state)
        if not bound:
            reaching.append(state)

    states, reached = explore(bounds, rules, visit=note).states, set(reaching)
    while reaching:
        for state in before.get(reaching.pop(), ()):
            if state not in reached:
                reached.add(state)
                reaching.append(state)
    return states - len(reached)


# --- at rest ----------------------------------------------------------------------------------------------------------


def at_rest(m: Machine, s: State, steps: list[Step]) -> str:
    """What is wrong in a state from which nothing is bound to come; empty when all is well."""
    if any(step.kind is Kind.MUST for step in steps):
        return ""
    if any(step.kind is Kind.LONG for step in steps):
        return _asleep_beside_work(m, s)
    return "; ".join(_unfinished(m, s))


def _asleep_beside_work(m: Machine, s: State) -> str:
    """While somebody computes, for ever for all we know, the others must have taken what is READY."""
    asleep = [j for j, worker in enumerate(s.instances) if worker.alive and worker.at == "sleep"]
    waiting = [i for i, slot in enumerate(s.slots) if slot.state == READY and s.frontends[m.lane_of(i)].alive]
    return f"I{asleep[0]} sleeps beside slot {waiting[0]}, READY" if asleep and waiting else ""


def _unfinished(m: Machine, s: State) -> Iterator[str]:
    if s.lease:
        yield f"the lease stays with process {s.lease}"
    for request, fate in enumerate(s.fates):
        if fate == Fate.OUTSTANDING:
            yield f"request {request} is never answered"
    for index, slot in enumerate(s.slots):
        if slot.state != FREE:
            yield f"slot {index} stays {STATE_NAMES[slot.state]}"
    for lane, owner in enumerate(s.frontends):
        if not owner.alive and not s.closing:
            yield f"lane {lane} is never handed over"
        elif owner.alive and (any(owner.tickets) or owner.unsent):
            yield f"F{lane} still has work"
