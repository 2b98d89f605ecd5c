"""The instance: wake, take a batch under the lease, compute, reply.

Each function is one place where an instance can stand (`at`), and gives the steps possible from there. The look is one
step: READY words stay READY under the lease, and one that appears after its word was read is followed by its own bell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.changes import replaced, set_instance, set_slot
from tests.model.faults import without_instance
from tests.model.machine import Machine
from tests.model.state import DROPPED, LEASED, READY, REPLIED, STATE_NAMES, Fate, State
from tests.model.steps import Kind, Step, must, violation

Steps = Iterator[Step]
Place = Callable[[Machine, State, int], Steps]


def steps(m: Machine, s: State, index: int) -> Steps:
    """Everything this instance may do next."""
    if s.instances[index].alive:
        yield from PLACES[s.instances[index].at](m, s, index)


# --- take -------------------------------------------------------------------------------------------------------------


def sleep(m: Machine, s: State, j: int) -> Steps:
    if s.detaching:
        yield _leave(s, j)
    elif s.doorbell:
        woken = s._replace(doorbell=False) if m.rules.drain_before_look else s
        yield must(f"I{j} wakes", set_instance(woken, j, at="lease"))


def lease(m: Machine, s: State, j: int) -> Steps:
    if s.detaching:
        yield _leave(s, j)
    elif not s.lease:
        yield must(f"I{j} takes the lease", set_instance(s._replace(lease=m.instance_number(j)), j, at="look"))
    elif not m.rules.wait_for_lease:
        yield must(f"I{j} finds the lease busy and sleeps", set_instance(s, j, at="sleep"))


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
    me = s.instances[j]
    after = "start" if me.taken else "sleep" if m.rules.drain_before_look else "drain"
    at = "ring" if me.left and m.rules.ring_when_left else after
    yield must(f"I{j} releases the lease, {at} next", set_instance(s._replace(lease=0), j, at=at, left=False))


def ring(m: Machine, s: State, j: int) -> Steps:
    """Who leaves work has taken some: an empty batch leaves nothing."""
    yield must(f"I{j} rings: work is left", set_instance(s._replace(doorbell=True), j, at="start"))


def drain(m: Machine, s: State, j: int) -> Steps:
    """Only where the doorbell is drained after the look."""
    yield must(f"I{j} drains the doorbell and sleeps", set_instance(s._replace(doorbell=False), j, at="sleep"))


# --- compute ----------------------------------------------------------------------------------------------------------


def start(m: Machine, s: State, j: int) -> Steps:
    """One slot a step: `started`, or dropped when it was cancelled or its frontend is dead."""
    me = s.instances[j]
    index = me.taken[me.cursor][0]
    slot = s.slots[index]
    unwanted = bool(slot.cancel) or not s.frontends[m.lane_of(index)].alive
    if _check_first(m, me.checked):
        unwanted = unwanted or not _holds(m, s, j, me.cursor)
    elif not unwanted and not _holds(m, s, j, me.cursor):
        yield violation(f"I{j} marks slot {index} started, which it does not hold", s)
    moved = s if unwanted else set_slot(s, index, started=me.name)
    last = me.cursor + 1 == len(me.taken)
    work = me.work + (DROPPED if unwanted else 0,)
    at = "start" if not last else "compute" if 0 in work else _phases(m)[0]
    text = f"I{j} drops slot {index}" if unwanted else f"I{j} slot {index} started := {me.name}"
    yield must(text, set_instance(moved, j, at=at, work=work, cursor=0 if last else me.cursor + 1))


def compute(m: Machine, s: State, j: int) -> Steps:
    """The device call: every started slot of the batch at once."""
    me = s.instances[j]
    # Reading a slot that is no longer its own harms nobody by itself: it shows in what is written.
    work = tuple(w or s.slots[index].payload or DROPPED for w, (index, _) in zip(me.work, me.taken))
    wrong = _wrong_work(s, j, work)
    if wrong:
        yield violation(f"I{j} {wrong}", s)
    text = f"I{j} computes requests {[w for w in work if w != DROPPED]}"
    yield Step(Kind.LONG, text, set_instance(s, j, at=_phases(m)[0], work=work))


def _wrong_work(s: State, j: int, work: tuple[int, ...]) -> str:
    elsewhere = {w for k, other in enumerate(s.instances) if k != j and other.alive for w in other.work if w > 0}
    computed = [(request, s.slots[index]) for request, (index, _) in zip(work, s.instances[j].taken) if request > 0]
    for request, slot in computed:
        if s.fates[request] in (Fate.ANSWERED, Fate.CONVICTED, Fate.REFUSED):
            return f"computes request {request}, which is {Fate(s.fates[request]).name}"
        if request in elsewhere:
            return f"computes request {request}, which another instance computes"
        if slot.isolate and len(computed) > 1:
            return f"computes isolated request {request} in a batch"
    return ""


# --- reply ------------------------------------------------------------------------------------------------------------


def _phases(m: Machine) -> tuple[str, str, str]:
    if not m.rules.area_before_word:
        return ("word", "area", "bell")
    return ("area", "word", "bell") if m.rules.word_before_bell else ("area", "bell", "word")


def area(m: Machine, s: State, j: int) -> Steps:
    me = s.instances[j]
    index = me.taken[me.cursor][0]
    if _check_first(m, me.checked):
        yield _check(m, s, j)
        return
    if m.rules.area_before_word and not m.rules.generation_check and not _holds(m, s, j, me.cursor):
        yield violation(f"I{j} writes the reply area of slot {index}, which it does not hold", s)
    reply = me.work[me.cursor]
    yield must(f"I{j} slot {index} reply := {reply}", _next_in(m, set_slot(s, index, reply=reply), j, "area"))


def word(m: Machine, s: State, j: int) -> Steps:
    me = s.instances[j]
    index, generation = me.taken[me.cursor]
    if _check_first(m, me.checked):
        yield _check(m, s, j)
        return
    if not _holds(m, s, j, me.cursor):
        yield violation(f"I{j} slot {index} := REPLIED, which it does not hold", s)
    replied = set_slot(s, index, state=REPLIED, generation=generation, name=0)
    yield must(f"I{j} slot {index} := REPLIED", _next_in(m, replied, j, "word"))


def bell(m: Machine, s: State, j: int) -> Steps:
    """Each lane's reply bell once."""
    me = s.instances[j]
    lanes = sorted({m.lane_of(index) for index, _ in me.taken})
    rung = s._replace(reply_bells=replaced(s.reply_bells, lanes[me.cursor], True))
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
    phases = _phases(m)
    following = phases.index(phase) + 1
    if following < len(phases):
        return set_instance(s, j, at=phases[following], cursor=0, checked=False)
    return set_instance(s, j, at="lease", cursor=0, checked=False, taken=(), work=())


def _holds(m: Machine, s: State, j: int, position: int) -> bool:
    me = s.instances[j]
    index, generation = me.taken[position]
    slot = s.slots[index]
    return (slot.state, slot.generation, slot.name) == (LEASED, generation, me.name)


def _check_first(m: Machine, checked: bool) -> bool:
    return m.rules.generation_check and not checked


def _check(m: Machine, s: State, j: int) -> Step:
    """Read the word again: go on if it is still ours, else leave the slot alone."""
    me = s.instances[j]
    if _holds(m, s, j, me.cursor):
        return must(f"I{j} checks slot {me.taken[me.cursor][0]}: still its own", set_instance(s, j, checked=True))
    return must(f"I{j} leaves slot {me.taken[me.cursor][0]} alone", _next_in(m, s, j, me.at))


PLACES: dict[str, Place] = {
    "sleep": sleep,
    "lease": lease,
    "look": look,
    "mark": mark,
    "sign": sign,
    "release": release,
    "ring": ring,
    "drain": drain,
    "start": start,
    "compute": compute,
    "area": area,
    "word": word,
    "bell": bell,
}
