"""An instance from its leased batch to the answer: stage, sort out, launch, wait for the device.

`begin` of the loop ends with the launch, `finish` begins with the wait; with `Bounds.in_flight` 2 a second batch may
be begun, or only staged, before the first is finished.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.changes import changed, holds, set_instance, set_slot
from tests.model.machine import Machine
from tests.model.state import DROPPED, Fate, Flight, Instance, State
from tests.model.steps import Kind, Step, must, violation

Steps = Iterator[Step]


def staged(m: Machine, s: State, j: int) -> State:
    """What was taken is brought to the device, which stores nothing that others may see."""
    me = s.instances[j]
    if not m.rules.start_at_launch:
        return set_instance(s, j, at="start_early")
    return onward(m, set_instance(s, j, flights=me.flights + (Flight(me.taken),)), j)


def start_early(m: Machine, s: State, j: int) -> Steps:
    """Only where `started` is stored at the staging."""
    me = s.instances[j]
    index = me.taken[me.cursor][0]
    started = set_instance(set_slot(s, index, started=me.name), j, cursor=me.cursor + 1)
    if me.cursor + 1 == len(me.taken):
        started = onward(m, set_instance(started, j, flights=me.flights + (Flight(me.taken),)), j)
    yield must(f"I{j} slot {index} started := {me.name}", started)


def onward(m: Machine, s: State, j: int) -> State:
    """A batch is staged, launched or replied to: to whatever comes next, or to `choose` between two halves."""
    me = s.instances[j]
    if not me.flights:
        at = "peek" if m.rules.drain_before_look else "lease"
    elif not me.flights[-1].launched:
        at = "sort" if len(me.flights) == 1 else "choose" if _may_launch(m, s, me) else "compute"
    else:
        at = "choose" if len(me.flights) < m.bounds.in_flight else "compute"
    return set_instance(s, j, at=at, taken=(), work=(), cursor=0, checked=False)


def choose(m: Machine, s: State, j: int) -> Steps:
    """Whether the one half or the other comes first is nobody's business: both must be right."""
    begins = "peek" if s.instances[j].flights[-1].launched else "sort"
    yield must(f"I{j} goes on to begin, {begins} next", set_instance(s, j, at=begins))
    yield must(f"I{j} goes on to finish", set_instance(s, j, at="compute"))


def _may_launch(m: Machine, s: State, me: Instance) -> bool:
    """A death must convict the right one: an isolated slot is on the device alone, whoever was launched first."""
    *launched, staged = me.flights
    if m.rules.isolated_after_others and launched and _isolated(s, staged):
        return False
    return not (m.rules.others_after_isolated and any(_isolated(s, flight) for flight in launched))


def _isolated(s: State, flight: Flight) -> bool:
    return any(s.slots[index].isolate for index, _ in flight.taken)


# --- launch -----------------------------------------------------------------------------------------------------------


def sort(m: Machine, s: State, j: int) -> Steps:
    """What was cancelled or belongs to a dead frontend is replied to uncomputed; then the rest is looked at again.

    One step: these are hints, and one that comes after its slot was read only makes the computation vain.
    """
    *before, flight = s.instances[j].flights
    live = tuple(taken for taken in flight.taken if _wanted(m, s, taken[0]))
    dropped = tuple(taken for taken in flight.taken if taken not in live)
    if not dropped:
        yield must(f"I{j} still wants slots {[index for index, _ in live]}", set_instance(s, j, at="launch"))
        return
    flights, work = (*before, Flight(live)) if live else (*before,), (DROPPED,) * len(dropped)
    left = set_instance(s, j, at=phases(m)[0], flights=flights, taken=dropped, work=work)
    yield must(f"I{j} drops slots {[index for index, _ in dropped]}", left)


def _wanted(m: Machine, s: State, index: int) -> bool:
    return not s.slots[index].cancel and s.frontends[m.lane_of(index)].alive


def launch(m: Machine, s: State, j: int) -> Steps:
    """One slot a step, `started`; the device call comes with the last."""
    flight = s.instances[j].flights[-1]
    if not m.rules.start_before_call:
        yield must(f"I{j} calls the device", _called(s, j))
        return
    position = len(flight.work)
    index = flight.taken[position][0]
    held = holds(s, j, flight.taken[position])
    if not held and not m.rules.generation_check:
        yield violation(f"I{j} marks slot {index} started, which it does not hold", s)
    work = flight.work + (s.slots[index].payload if held else DROPPED,)
    last = len(work) == len(flight.taken)
    begun = _set_last(s, j, changed(flight, work=work, launched=last))
    if held and m.rules.start_at_launch:
        begun = set_slot(begun, index, started=s.instances[j].name)
    text = f"I{j} slot {index} started := {s.instances[j].name}" + (", calls the device" if last else "")
    yield must(text, onward(m, begun, j) if last else begun)


def _called(s: State, j: int) -> State:
    flight = s.instances[j].flights[-1]
    work = tuple(s.slots[index].payload or DROPPED for index, _ in flight.taken)
    return set_instance(_set_last(s, j, changed(flight, work=work)), j, at="start_late")


def start_late(m: Machine, s: State, j: int) -> Steps:
    """Only where `started` is stored after the device call."""
    me = s.instances[j]
    index = me.flights[-1].taken[me.cursor][0]
    started = set_slot(s, index, started=me.name)
    text = f"I{j} slot {index} started := {me.name}"
    if me.cursor + 1 < len(me.flights[-1].taken):
        yield must(text, set_instance(started, j, cursor=me.cursor + 1))
    else:
        yield must(text, onward(m, _set_last(started, j, changed(me.flights[-1], launched=True)), j))


def _set_last(s: State, j: int, flight: Flight) -> State:
    return set_instance(s, j, flights=s.instances[j].flights[:-1] + (flight,))


# --- finish -----------------------------------------------------------------------------------------------------------


def compute(m: Machine, s: State, j: int) -> Steps:
    """The wait for the oldest batch on the device, which may take for ever."""
    me = s.instances[j]
    flight = me.flights[0]
    if not m.rules.drain_to_look and s.doorbell:
        yield must(f"I{j} drains the doorbell between the halves", changed(s, doorbell=False))
    # Reading a slot that is no longer its own harms nobody by itself: it shows in what is written.
    work = tuple(w if w == DROPPED else s.slots[i].payload or DROPPED for w, (i, _) in zip(flight.work, flight.taken))
    wrong = _wrong_work(s, j, work)
    if wrong:
        yield violation(f"I{j} {wrong}", s)
    done = set_instance(s, j, at=phases(m)[0], flights=me.flights[1:], taken=flight.taken, work=work)
    yield Step(Kind.LONG, f"I{j} computes requests {[w for w in work if w != DROPPED]}", done)


def _wrong_work(s: State, j: int, work: tuple[int, ...]) -> str:
    elsewhere = {w for k, other in enumerate(s.instances) if k != j for w in launched_work(other)}
    for request in work:
        if request > 0 and s.fates[request] in (Fate.ANSWERED, Fate.CONVICTED, Fate.REFUSED):
            return f"computes request {request}, which is {Fate(s.fates[request]).name}"
        if request in elsewhere:
            return f"computes request {request}, which another instance computes"
    return ""


def launched_work(instance: Instance) -> Iterator[int]:
    """Requests whose launch has begun; a corpse has none."""
    for work in (*(flight.work for flight in instance.flights), instance.work):
        yield from (request for request in work if request > 0)


def phases(m: Machine) -> tuple[str, str, str]:
    """The order of a reply's stores."""
    if not m.rules.area_before_word:
        return ("word", "area", "bell")
    return ("area", "word", "bell") if m.rules.word_before_bell else ("area", "bell", "word")
