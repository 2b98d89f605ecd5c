"""What the death of an instance brings to a lane. The dead are takers that are simply never used again."""

from __future__ import annotations

import pytest

from engine.errors import InternalError
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.records import LaneStatistics, Outcome
from engine.shm.taker import Taker
from tests.shm.rig import Rig, offered, reply_to, request, take_all, take_first, values


def submit(lane: LaneOwner, value: int = 1) -> Item:
    ticket = offered(lane, request(value))
    assert ticket is not None
    return ticket


def die_with(rig: Rig, *, started: bool) -> Taker:
    """An instance that takes everything and is never heard of again."""
    taker = rig.taker()
    slots = taker.take(take_all)
    assert slots
    if started:
        taker.start(slots)
    rig.steward.clear_row(taker.name)
    return taker


def test_a_reply_that_the_dead_did_not_ring_for_is_delivered(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    submit(lane, 3)
    reply_to(taker, taker.take(take_all))
    rig.reply_bells[0].drain()
    assert values(lane.instance_died(taker.name, alive=0)) == [3]
    assert lane.statistics() == LaneStatistics(free=4)


def test_started_work_is_offered_again_alone(rig: Rig) -> None:
    lane = rig.owner()
    submit(lane, 1)
    submit(lane, 2)
    dead = die_with(rig, started=True)
    assert lane.instance_died(dead.name, alive=1) == []
    assert lane.statistics() == LaneStatistics(free=2, ready=2)
    second = rig.taker()
    for value in (1, 2):
        slots = second.take(take_first)
        assert slots.column("isolate") == [1]
        second.start(slots)
        reply_to(second, slots)
        assert values(lane.harvest()) == [value]


def test_the_second_death_with_started_work_is_a_verdict(rig: Rig) -> None:
    lane = rig.owner()
    ticket = submit(lane)
    assert lane.instance_died(die_with(rig, started=True).name, alive=1) == []
    (reply,) = lane.instance_died(die_with(rig, started=True).name, alive=1)
    assert reply.outcome is Outcome.CRASHED and reply is ticket
    assert lane.statistics() == LaneStatistics(free=4)


def test_work_that_never_started_stays_innocent(rig: Rig) -> None:
    lane = rig.owner()
    submit(lane, 8)
    for _ in range(5):
        assert lane.instance_died(die_with(rig, started=False).name, alive=1) == []
    assert lane.instance_died(die_with(rig, started=True).name, alive=1) == []
    for _ in range(5):  # the mark of the one that had started it must not count for those that had not
        assert lane.instance_died(die_with(rig, started=False).name, alive=1) == []
    last = rig.taker()
    reply_to(last, last.take(take_all))
    assert values(lane.harvest()) == [8]


def test_of_two_batches_only_the_started_one_is_suspect(rig: Rig) -> None:
    lane, dead = rig.owner(), rig.taker()
    submit(lane, 1)
    first = dead.take(take_all)
    submit(lane, 2)
    dead.take(take_all)  # staged while the first computes
    dead.start(first)
    assert lane.instance_died(dead.name, alive=1) == []
    living = rig.taker()
    slots = living.take(take_all)
    assert [slots.request_id(k) for k in (0, 1)] == ["request-1", "request-2"]
    assert slots.column("isolate") == [1, 0]
    reply_to(living, slots)
    assert values(lane.harvest()) == [1, 2]


@pytest.mark.parametrize("started", [False, True])
def test_abandoned_work_of_the_dead_is_freed_silently(rig: Rig, started: bool) -> None:
    lane = rig.owner()
    ticket = submit(lane)
    dead = die_with(rig, started=started)
    lane.abandon(ticket)
    assert lane.instance_died(dead.name, alive=1) == []
    assert lane.statistics() == LaneStatistics(free=4) and lane.outstanding == 0


def test_what_others_hold_is_theirs(rig: Rig) -> None:
    lane, living = rig.owner(), rig.taker()
    submit(lane, 6)
    slots = living.take(take_all)
    assert lane.lessees() == {living.name}
    assert lane.instance_died(living.name + 1, alive=1) == []
    assert lane.statistics().leased == 1
    reply_to(living, slots)
    assert values(lane.harvest()) == [6]
    assert lane.lessees() == set()


def test_a_late_notice_of_a_former_death_changes_nothing(rig: Rig) -> None:
    """Names are never reused, so that the notice cannot hit a namesake."""
    lane = rig.owner()
    submit(lane, 4)
    dead = die_with(rig, started=True)
    lane.instance_died(dead.name, alive=1)
    second = rig.taker()
    slots = second.take(take_all)
    second.start(slots)
    assert second.name != dead.name
    assert lane.instance_died(dead.name, alive=1) == []
    reply_to(second, slots)
    assert values(lane.harvest()) == [4]


@pytest.mark.parametrize("outstanding", [False, True])
def test_whoever_has_something_outstanding_rings(rig: Rig, outstanding: bool) -> None:
    """The dead may have drained the doorbell and taken nothing: another instance would sleep on beside the work."""
    lane = rig.owner()
    if outstanding:
        submit(lane)
    rig.doorbell.drain()
    lane.instance_died(77, alive=1)
    assert rig.doorbell.drain() == outstanding


def test_in_a_closing_segment_the_last_death_refuses_what_is_left(rig: Rig) -> None:
    lane = rig.owner()
    submit(lane)
    dead = die_with(rig, started=False)
    waiting, abandoned = submit(lane), submit(lane)
    rig.segment.set_closing()
    with rig.lease():
        lane.abandon(abandoned)
    replies = lane.instance_died(dead.name, alive=0)
    assert [reply.outcome for reply in replies] == [Outcome.REFUSED] * 2
    assert waiting in replies and abandoned not in replies
    assert lane.statistics() == LaneStatistics(free=4)
    assert lane.harvest() == [] and lane.statistics() == LaneStatistics(free=4)


def test_while_one_instance_is_left_a_closing_segment_refuses_nothing(rig: Rig) -> None:
    lane, living = rig.owner(), rig.taker()
    submit(lane, 2)
    dead = die_with(rig, started=False)
    rig.segment.set_closing()
    assert lane.instance_died(dead.name, alive=1) == []
    reply_to(living, living.take(take_all))
    assert values(lane.harvest()) == [2]


def test_refusing_delivers_what_is_there(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    submit(lane, 1)
    reply_to(taker, taker.take(take_all))
    submit(lane, 2)
    with pytest.raises(InternalError, match="only a closing segment"):
        lane.refuse_ready()
    rig.segment.set_closing()
    assert [reply.outcome for reply in lane.refuse_ready()] == [Outcome.OK, Outcome.REFUSED]
    assert lane.statistics() == LaneStatistics(free=4)


def test_a_death_that_was_ordered_counts_against_nobody(rig: Rig) -> None:
    lane = rig.owner()
    submit(lane, 5)
    for _ in range(3):
        killed = rig.taker()
        killed.start(killed.take(take_all))
        rig.steward.mark_ordered(killed.name)
        assert lane.instance_died(killed.name, alive=1) == []
        rig.steward.clear_row(killed.name)
    assert lane.instance_died(die_with(rig, started=True).name, alive=1) == []  # the first that counts
    killed = rig.taker()
    killed.start(killed.take(take_all))
    rig.steward.mark_ordered(killed.name)
    assert lane.instance_died(killed.name, alive=1) == []  # between two that count, too
    (reply,) = lane.instance_died(die_with(rig, started=True).name, alive=1)
    assert reply.outcome is Outcome.CRASHED


def test_an_order_is_found_after_its_row_is_given_away(rig: Rig) -> None:
    """A frontend may hear of the death last: the row then belongs to another instance already."""
    lane = rig.owner()
    submit(lane, 5)
    killed = rig.taker()
    killed.start(killed.take(take_all))
    rig.steward.mark_ordered(killed.name)
    rig.steward.clear_row(killed.name)
    heir = rig.taker()
    assert lane.instance_died(killed.name, alive=1) == []
    assert heir.take(take_all).column("isolate") == [0]
    assert not rig.segment.was_ordered(heir.name)
