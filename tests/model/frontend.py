"""The frontend: submit, look for replies, cancel, deal with the death of an instance, refuse when all is over.

Each function is one place where a frontend can stand (`at`), and gives the steps possible from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.changes import changed, free_slot, replaced, set_fate, set_frontend, set_slot
from tests.model.machine import Machine
from tests.model.state import LEASED, READY, REPLIED, STATE_NAMES, WRITING, Fate, Slot, State, Withdrawal
from tests.model.steps import Step, may, must, violation

Steps = Iterator[Step]
Place = Callable[[Machine, State, int], Steps]


def steps(m: Machine, s: State, lane: int) -> Steps:
    """Everything the frontend of this lane may do next."""
    me = s.frontends[lane]
    return PLACES[me.at](m, s, lane) if me.alive else iter(())


# --- idle: whatever event comes first ------------------------------------------------------------------------------


def idle(m: Machine, s: State, lane: int) -> Steps:
    me = s.frontends[lane]
    if me.due:
        rung = set_frontend(changed(s, doorbell=True), lane, due=False)
        yield must(f"F{lane} rings the doorbell, at the end of its turn", rung)
    if me.unsent and 0 in me.tickets:
        yield _claim(m, s, lane)
    if s.reply_bells[lane]:
        drained = changed(s, reply_bells=replaced(s.reply_bells, lane, False))
        looking = _walk(m, set_frontend(drained, lane, at="look"), lane, 0)
        yield must(f"F{lane} drains its reply bell", looking)
    if me.notices:
        name = min(me.notices)
        seen = set_frontend(s, lane, at="death", dead_name=name, notices=me.notices - {name})
        yield must(f"F{lane} sees that {name} is dead", _walk(m, seen, lane, 0))
    yield from _cancels(m, s, lane)
    yield from _withdrawals(m, s, lane)
    if _must_refuse(m, s, lane):
        yield must(f"F{lane} finds nobody left to serve", set_frontend(s, lane, at="refuse_lease", cursor=0))


def _claim(m: Machine, s: State, lane: int) -> Step:
    """WRITING, and the fields: nobody else looks at them before READY."""
    me = s.frontends[lane]
    position, request = me.tickets.index(0), lane * m.bounds.lane_requests + me.sent + 1
    index = m.lane_slots(lane)[position]
    slot = Slot(state=WRITING, generation=s.slots[index].generation, payload=request)
    claimed = set_frontend(
        set_fate(changed(s, slots=replaced(s.slots, index, slot)), request, Fate.OUTSTANDING),
        lane,
        at="closing?" if m.bounds.undeploy else "publish" if m.rules.ready_before_ring else "ring_early",
        cursor=position,
        tickets=replaced(me.tickets, position, request),
        unsent=me.unsent - 1,
        sent=me.sent + 1,
    )
    return must(f"F{lane} slot {index} := WRITING request {request}", claimed)


def _cancels(m: Machine, s: State, lane: int) -> Steps:
    """The caller is answered at once, the slot comes home when it can."""
    me = s.frontends[lane]
    for position, request in enumerate(me.tickets):
        if s.budget.cancels and request and not me.withdrawals[position]:
            abandoned = replaced(me.withdrawals, position, Withdrawal.TRY)
            left = changed(s, budget=changed(s.budget, cancels=s.budget.cancels - 1))
            flagged = set_slot(set_frontend(left, lane, withdrawals=abandoned), m.lane_slots(lane)[position], cancel=1)
            yield may(f"F{lane} request {request} is cancelled", set_fate(flagged, request, Fate.CANCELLED))


def _withdrawals(m: Machine, s: State, lane: int) -> Steps:
    me = s.frontends[lane]
    for position, withdrawal in enumerate(me.withdrawals):
        if withdrawal != Withdrawal.TRY:
            continue
        if not m.rules.withdraw_under_lease:
            yield must(f"F{lane} looks without the lease", set_frontend(s, lane, at="withdraw_look", cursor=position))
        elif s.lease:
            later = replaced(me.withdrawals, position, Withdrawal.LATER)
            yield must(f"F{lane} finds the lease busy", set_frontend(s, lane, withdrawals=later))
        else:
            held = changed(s, lease=m.frontend_number(lane))
            yield must(f"F{lane} takes the lease", set_frontend(held, lane, at="withdraw_look", cursor=position))


def _must_refuse(m: Machine, s: State, lane: int) -> bool:
    """Once closing, with every instance known to be dead, READY work will never be taken."""
    over = m.rules.refuse_when_closing and s.closing and not s.frontends[lane].notices
    nobody = not any(instance.alive for instance in s.instances)
    return over and nobody and any(s.slots[index].state == READY for index in m.lane_slots(lane))


# --- submit -----------------------------------------------------------------------------------------------------------


def look_at_closing(m: Machine, s: State, lane: int) -> Steps:
    yield must(f"F{lane} reads closing", set_frontend(s, lane, at="turn_away" if s.closing else "publish"))


def turn_away(m: Machine, s: State, lane: int) -> Steps:
    freed = _end(m, s, lane, s.frontends[lane].cursor, Fate.REFUSED)
    yield must(f"F{lane} refuses: closing", _after_event(freed, lane))


def publish(m: Machine, s: State, lane: int) -> Steps:
    index = m.lane_slots(lane)[s.frontends[lane].cursor]
    ready = set_slot(s, index, state=READY)
    rings = m.rules.ring_at_turn_end and m.rules.ready_before_ring
    yield must(f"F{lane} slot {index} := READY", _rings(m, ready, lane) if rings else _after_event(ready, lane))


def _rings(m: Machine, s: State, lane: int) -> State:
    """At once; or the bell is only due, and whatever else this turn of the event loop brings comes before it."""
    if m.bounds.turn_bell:
        return _after_event(set_frontend(s, lane, due=True), lane)
    return set_frontend(s, lane, at="ring", cursor=0, dead_name=0)


def ring(m: Machine, s: State, lane: int) -> Steps:
    yield must(f"F{lane} rings the doorbell", _after_event(changed(s, doorbell=True), lane))


def ring_early(m: Machine, s: State, lane: int) -> Steps:
    """Only where the doorbell is rung for what is still WRITING."""
    yield must(f"F{lane} rings the doorbell", set_frontend(changed(s, doorbell=True), lane, at="publish"))


# --- replies ----------------------------------------------------------------------------------------------------------


def look(m: Machine, s: State, lane: int) -> Steps:
    """One outstanding slot a step: REPLIED ones are delivered."""
    position = s.frontends[lane].cursor
    index = m.lane_slots(lane)[position]
    if s.slots[index].state == REPLIED:
        yield _walked(m, _deliver(m, s, lane, position), lane)
    else:
        yield _walked(m, must(f"F{lane} passes slot {index}", s), lane)


def _walked(m: Machine, step: Step, lane: int) -> Step:
    return step._replace(state=_walk(m, step.state, lane, step.state.frontends[lane].cursor + 1))


def _walk(m: Machine, s: State, lane: int, cursor: int) -> State:
    """On to the next slot with a ticket, else to the end of this look; only local variables are read for that."""
    me = s.frontends[lane]
    position = next((p for p in range(cursor, m.bounds.slots) if me.tickets[p]), None)
    if position is not None:
        return set_frontend(s, lane, cursor=position)
    rings = me.at == "death" and m.rules.ring_on_death and any(me.tickets)
    return _rings(m, s, lane) if rings else _after_event(s, lane)


def _deliver(m: Machine, s: State, lane: int, position: int) -> Step:
    me, index = s.frontends[lane], m.lane_slots(lane)[position]
    request, reply = me.tickets[position], s.slots[index].reply
    if me.withdrawals[position]:
        return must(f"F{lane} drops the reply in slot {index}", _end(m, s, lane, position, Fate.CANCELLED))
    if reply != request:
        return violation(f"F{lane} answers request {request} with the reply {reply}", s)
    if s.fates[request] != Fate.OUTSTANDING:
        return violation(f"F{lane} answers request {request} again ({Fate(s.fates[request]).name})", s)
    return must(f"F{lane} delivers request {request}", _end(m, s, lane, position, Fate.ANSWERED))


def _end(m: Machine, s: State, lane: int, position: int, fate: Fate) -> State:
    """The ticket is over: word := FREE, back to the free list."""
    me = s.frontends[lane]
    home = set_frontend(
        free_slot(s, m.lane_slots(lane)[position]),
        lane,
        tickets=replaced(me.tickets, position, 0),
        withdrawals=replaced(me.withdrawals, position, Withdrawal.NONE),
    )
    return set_fate(home, me.tickets[position], fate)


def _after_event(s: State, lane: int) -> State:
    """Back to idle; what was to be tried at the next event is tried now."""
    again = tuple(Withdrawal.TRY if w == Withdrawal.LATER else w for w in s.frontends[lane].withdrawals)
    return set_frontend(s, lane, at="idle", cursor=0, dead_name=0, withdrawals=again)


# --- withdrawal of READY, under the lease -----------------------------------------------------------------------------


def withdraw_look(m: Machine, s: State, lane: int) -> Steps:
    index = m.lane_slots(lane)[s.frontends[lane].cursor]
    found = s.slots[index].state
    at = "withdraw" if found == READY else "withdraw_release"
    yield must(f"F{lane} finds slot {index} {STATE_NAMES[found]}", set_frontend(s, lane, at=at))


def withdraw(m: Machine, s: State, lane: int) -> Steps:
    position = s.frontends[lane].cursor
    index = m.lane_slots(lane)[position]
    if s.slots[index].state != READY:
        yield violation(f"F{lane} frees slot {index} while it is {STATE_NAMES[s.slots[index].state]}", s)
    freed = set_frontend(_end(m, s, lane, position, Fate.CANCELLED), lane, at="withdraw_release")
    yield must(f"F{lane} withdraws slot {index}", freed)


def withdraw_release(m: Machine, s: State, lane: int) -> Steps:
    me = s.frontends[lane]
    if me.withdrawals[me.cursor]:
        s = set_frontend(s, lane, withdrawals=replaced(me.withdrawals, me.cursor, Withdrawal.LEASED))
    released = changed(s, lease=0) if m.rules.withdraw_under_lease else s
    yield must(f"F{lane} releases the lease", set_frontend(released, lane, at="idle", cursor=0))


# --- death of an instance ---------------------------------------------------------------------------------------------


def death(m: Machine, s: State, lane: int) -> Steps:
    """One outstanding slot a step; then the doorbell, whatever was found."""
    me = s.frontends[lane]
    index = m.lane_slots(lane)[me.cursor]
    slot = s.slots[index]
    if slot.state == REPLIED and m.rules.harvest_on_death:
        step = _deliver(m, s, lane, me.cursor)
    elif slot.state == LEASED and slot.name == me.dead_name:
        step = _redispatch(m, s, lane, me.cursor)
    else:
        step = must(f"F{lane} passes slot {index}", s)
    yield _walked(m, step, lane)


def _redispatch(m: Machine, s: State, lane: int, position: int) -> Step:
    me, index = s.frontends[lane], m.lane_slots(lane)[position]
    slot, request = s.slots[index], me.tickets[position]
    ordered = me.dead_name in s.ordered and m.rules.ordered_is_innocent
    suspect = (slot.started == me.dead_name or not m.rules.count_started_only) and not ordered
    if me.withdrawals[position]:
        return must(f"F{lane} frees abandoned slot {index}", _end(m, s, lane, position, Fate.CANCELLED))
    if suspect and slot.attempt:
        if s.deaths[request] < 2:
            return violation(f"F{lane} convicts request {request}, started in {s.deaths[request]} deaths", s)
        if s.beside[request]:
            return violation(f"F{lane} convicts request {request}, which died beside request {s.beside[request]}", s)
        return must(f"F{lane} convicts request {request}", _end(m, s, lane, position, Fate.CONVICTED))
    if s.deaths[request] > 1:
        return violation(f"F{lane} offers request {request} again after {s.deaths[request]} deaths of it", s)
    if suspect:
        s = set_slot(s, index, isolate=1, attempt=1)
    told = f"F{lane} slot {index} := READY again" + (", isolated" if suspect else "")
    return must(told, set_slot(s, index, state=READY, name=0))


# --- closing, and no instance left ------------------------------------------------------------------------------------


def refuse_lease(m: Machine, s: State, lane: int) -> Steps:
    if not s.lease:
        held = changed(s, lease=m.frontend_number(lane))
        yield must(f"F{lane} takes the lease to refuse", set_frontend(held, lane, at="refuse"))


def refuse(m: Machine, s: State, lane: int) -> Steps:
    me = s.frontends[lane]
    if me.cursor == m.bounds.slots:
        yield must(f"F{lane} has refused all, releases", _after_event(changed(s, lease=0), lane))
        return
    index, moved = m.lane_slots(lane)[me.cursor], set_frontend(s, lane, cursor=me.cursor + 1)
    if me.tickets[me.cursor] and s.slots[index].state == READY:
        fate = Fate.CANCELLED if me.withdrawals[me.cursor] else Fate.REFUSED
        yield must(f"F{lane} refuses slot {index}", _end(m, moved, lane, me.cursor, fate))
    else:
        yield must(f"F{lane} passes slot {index}", moved)


PLACES: dict[str, Place] = {
    "idle": idle,
    "closing?": look_at_closing,
    "turn_away": turn_away,
    "publish": publish,
    "ring": ring,
    "ring_early": ring_early,
    "look": look,
    "withdraw_look": withdraw_look,
    "withdraw": withdraw,
    "withdraw_release": withdraw_release,
    "death": death,
    "refuse_lease": refuse_lease,
    "refuse": refuse,
}
