"""The supervisor's side: names, owners of lanes, what the dead left, and what a successor finds half done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.clock import NS_PER_S, now_ns
from engine.errors import InternalError, OutOfMemory
from engine.shm import memory
from engine.shm.board import InstanceBoard, instance_totals
from engine.shm.lane import LaneOwner
from engine.shm.records import LaneStatistics
from engine.shm.layout import Header
from engine.shm.steward import InstanceRow, LaneRow
from engine.shm.words import FREE, LEASED, MAX_NAME, READY, REPLIED, WRITING, generation_of, pack, state_of
from tests.shm.rig import Rig, offered, python_child, reply_to, request, take_all, take_first, values

DEAD, LIVING = 5, 6


def dead(name: int) -> bool:
    return name == DEAD


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_name_is_never_given_twice(rig: Rig) -> None:
    given = []
    for pid in range(20):  # more than there are rows
        given.append(rig.steward.new_name(pid, 7))
        rig.steward.clear_row(given[-1])
    assert given == list(range(1, 21))
    assert rig.successor().new_name(99, 7) == 21
    assert rig.segment.name_counter == 21


def test_the_row_is_stored_before_the_name_is_known(rig: Rig) -> None:
    name = rig.steward.new_name(1234, 77)
    assert rig.steward.rows() == [InstanceRow(name, 1234, 77, go=False)]
    rig.steward.mark_go(name)
    rig.steward.mark_go(name)
    assert rig.successor().rows() == [InstanceRow(name, 1234, 77, go=True)]


def test_a_row_that_is_cleared_is_used_again_without_its_marks(rig: Rig) -> None:
    first = rig.steward.new_name(1, 1)
    rig.steward.mark_go(first)
    rig.steward.clear_row(first)
    rig.steward.clear_row(first)
    second = rig.steward.new_name(2, 2)
    assert rig.steward.rows() == [InstanceRow(second, 2, 2, go=False)]


def test_no_row_left(rig: Rig) -> None:
    for pid in range(8):
        rig.steward.new_name(pid, 1)
    with pytest.raises(OutOfMemory, match="all 8 rows"):
        rig.steward.new_name(9, 1)


def test_no_name_left(rig: Rig) -> None:
    rig.segment.header[Header.NAME_COUNTER] = MAX_NAME
    with pytest.raises(InternalError, match="spent"):
        rig.steward.new_name(1, 1)


@pytest.mark.parametrize("device", ["cpu", "cuda:0", "cuda:7", ""])
def test_the_row_says_what_the_instance_runs_on(rig: Rig, device: str) -> None:
    name = rig.steward.new_name(1, 2, seat=3, device=device)
    assert rig.successor().rows() == [InstanceRow(name, 1, 2, go=False, seat=3, device=device)]


def test_the_latest_deadline_is_that_of_work_somebody_waits_for(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    assert rig.steward.latest_deadline_ns(taker.name, arrived_by_ns=now_ns()) is None
    due_ns = [now_ns() + second * NS_PER_S for second in (50, 70, 90)]
    tickets = [offered(lane, request(deadline_ns=due)) for due in due_ns]
    slots = taker.take(take_all)
    late_ns = now_ns()
    assert rig.steward.latest_deadline_ns(taker.name, arrived_by_ns=late_ns) == due_ns[2]
    assert rig.steward.latest_deadline_ns(taker.name + 1, arrived_by_ns=late_ns) is None
    assert rig.steward.latest_deadline_ns(taker.name, arrived_by_ns=slots.column("arrival")[1]) == due_ns[1]
    assert tickets[2] is not None
    lane.abandon(tickets[2])
    assert rig.steward.latest_deadline_ns(taker.name, arrived_by_ns=late_ns) == due_ns[1]
    reply_to(taker, slots)
    assert rig.steward.latest_deadline_ns(taker.name, arrived_by_ns=late_ns) is None


def test_an_unknown_name_does_not_go(rig: Rig) -> None:
    for name in (0, 3):
        with pytest.raises(InternalError, match=f"called {name}"):
            rig.steward.mark_go(name)


# --- lanes ----------------------------------------------------------------------------------------------------------


def test_a_lane_is_handed_out_with_a_new_epoch(rig: Rig) -> None:
    assert rig.steward.owner_of(1) == LaneRow(0, 0, 0)
    rig.steward.assign(1, 321, 55)
    assert rig.steward.owner_of(1) == LaneRow(321, 55, 1)
    rig.steward.assign(1, 322, 56)
    assert rig.successor().owner_of(1) == LaneRow(322, 56, 2)


@pytest.mark.parametrize("state", [WRITING, READY, LEASED, REPLIED])
def test_a_lane_with_a_slot_in_use_stays(rig: Rig, state: int) -> None:
    rig.segment.tables.word[6] = pack(3, LIVING if state == LEASED else 0, state)
    with pytest.raises(InternalError, match="cannot change hands"):
        rig.steward.assign(1, 1, 1)
    assert rig.steward.owner_of(1).pid == 0


def test_a_sweep_frees_all_but_what_the_living_hold(rig: Rig) -> None:
    words = rig.segment.tables.word
    states = [pack(1, 0, WRITING), pack(2, 0, READY), pack(3, 0, REPLIED), pack(4, DEAD, LEASED)]
    for index, word in enumerate(states):
        words[4 + index] = word
    words[0] = pack(9, 0, READY)  # of the other lane
    assert rig.steward.sweep(1, dead) == 0
    assert [(state_of(word), generation_of(word)) for word in words[4:8].tolist()] == [(FREE, g) for g in (2, 3, 4, 5)]
    assert words[0] == pack(9, 0, READY)
    words[5] = pack(7, LIVING, LEASED)
    assert rig.steward.sweep(1, dead) == 1
    assert words[5] == pack(7, LIVING, LEASED)
    words[5] = pack(7, 0, REPLIED)
    assert rig.steward.sweep(1, dead) == 0


def test_a_sweep_is_idempotent(rig: Rig) -> None:
    rig.segment.tables.word[2] = pack(4, 0, READY)
    for _ in range(3):
        assert rig.steward.sweep(0, dead) == 0
        assert rig.segment.tables.word[2] == pack(5, 0, FREE)


def test_a_sweep_does_not_wait_for_ever_on_a_holder_that_hangs(rig: Rig) -> None:
    rig.segment.tables.word[0] = pack(0, 0, READY)
    with rig.lease():
        assert rig.steward.sweep(0, dead) == 1
        assert rig.segment.tables.word[0] == pack(0, 0, READY)
    assert rig.steward.sweep(0, dead) == 0


def test_the_next_owner_starts_where_the_last_one_ended(rig: Rig) -> None:
    """Generations continue; the late reply to the dead owner's request comes before the lane is handed over."""
    lane, taker = rig.owner(0), rig.taker()
    for value in range(3):
        offered(lane, request(value))
    late = taker.take(take_first)
    assert rig.steward.sweep(0, dead) == 1
    with pytest.raises(InternalError):
        rig.steward.assign(0, 2, 2)
    reply_to(taker, late)
    assert rig.steward.sweep(0, dead) == 0
    second = rig.owner(0, pid=2)
    for value in range(4):
        offered(second, request(10 + value))
    reply_to(taker, taker.take(take_all))
    assert sorted(values(second.harvest())) == [10, 11, 12, 13]
    assert generation_of(rig.segment.tables.word[0]) == 2 and rig.steward.owner_of(0).epoch == 2


@pytest.fixture
def roomy() -> Iterator[Rig]:
    """Lanes with pages of their own."""
    made = Rig(payload_bytes=8192)
    yield made
    made.close()


def blocks(rig: Rig) -> int:
    return os.fstat(rig.segment.fd).st_blocks


def test_pages_come_with_the_owner_and_go_with_the_last_slot(roomy: Rig) -> None:
    empty, taker = blocks(roomy), roomy.taker()
    lane = roomy.owner(0, pid=5)
    full = blocks(roomy)
    assert (full - empty) * 512 == sum(size for _, size in roomy.segment.geometry.lane_pages(0)) > 0
    lane.offer(request(1))
    late = taker.take(take_all)
    assert roomy.steward.sweep(0, dead) == 1
    with pytest.raises(InternalError, match="cannot change hands"):
        roomy.steward.vacate(0)
    assert blocks(roomy) == full
    assert late.payloads().samples[0].any()
    reply_to(taker, late)
    assert roomy.steward.sweep(0, dead) == 0
    for _ in range(2):
        roomy.steward.vacate(0)
        assert blocks(roomy) == empty and roomy.steward.owner_of(0).pid == 0
    second = roomy.owner(0, pid=6)
    assert blocks(roomy) == full
    second.offer(request(2))
    reply_to(taker, taker.take(take_all))
    assert values(second.harvest()) == [2]


def test_a_lane_for_which_there_is_no_memory_is_not_handed_out(
    roomy: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable: 4 kB\n")
    empty = blocks(roomy)
    with monkeypatch.context() as made_up:
        made_up.setattr(memory, "PROC", tmp_path)
        with pytest.raises(OutOfMemory, match="lane 1 of a shared segment needs 0.0 MB .* 0.0 MB are available"):
            roomy.steward.assign(1, 7, 7)
    assert roomy.steward.owner_of(1) == LaneRow(0, 0, 0) and blocks(roomy) == empty
    roomy.steward.assign(1, 7, 7)
    assert roomy.steward.owner_of(1) == LaneRow(7, 7, 1)


def test_counts_add_up_or_raise(rig: Rig) -> None:
    rig.segment.tables.word[1] = pack(0, 0, READY)
    rig.segment.tables.word[6] = pack(0, LIVING, LEASED)
    counts = rig.steward.counts()
    assert counts == LaneStatistics(free=6, ready=1, leased=1) and counts.total == 8
    rig.segment.tables.word[1] = pack(0, 0, REPLIED + 1)
    with pytest.raises(InternalError, match="no valid state"):
        rig.steward.counts()
    rig.segment.tables.word[1] = 0


# --- killed half-way ------------------------------------------------------------------------------------------------

STEWARD = """
import sys
from engine.shm.segment import Segment
from engine.shm.steward import Steward
steward = Steward(Segment.attach(int(sys.argv[1])))
{do}
"""


def killed_steward(rig: Rig, do: str, crash_point: str) -> None:
    """A steward in another process that does `do` and is killed at the crash point."""
    with python_child(STEWARD.format(do=do), [rig.segment.fd], crash_point=crash_point) as child:
        assert child.wait(60) == -9, "the crash point was not reached"


def test_killed_between_counter_and_row_the_name_is_spent(rig: Rig) -> None:
    killed_steward(rig, "steward.new_name(1, 1)", "name.half")
    successor = rig.successor()
    assert successor.rows() == [] and rig.segment.name_counter == 1
    assert successor.new_name(2, 2) == 2


def test_killed_between_the_stores_of_an_owner_the_lane_is_nobodys(rig: Rig) -> None:
    rig.steward.assign(0, 10, 10)
    killed_steward(rig, "steward.assign(0, 20, 20)", "assign.half")
    assert rig.steward.owner_of(0).pid == 0
    rig.steward.assign(0, 30, 30)
    assert rig.steward.owner_of(0) == LaneRow(30, 30, 3)


def test_killed_before_the_pages_go_a_successor_gives_them_back(roomy: Rig) -> None:
    empty = blocks(roomy)
    roomy.owner(0)
    killed_steward(roomy, "steward.vacate(0)", "vacate.half")
    assert roomy.steward.owner_of(0).pid == 0 and blocks(roomy) > empty
    roomy.successor().vacate(0)
    assert blocks(roomy) == empty


def test_killed_in_a_sweep_the_successor_sweeps_again(rig: Rig) -> None:
    lane = rig.owner(0)
    for value in range(3):
        offered(lane, request(value))
    killed_steward(rig, "steward.sweep(0, bool)", "sweep.slot:2")
    assert rig.successor().sweep(0, dead) == 0
    assert LaneOwner(rig.segment, 0, rig.lease(), rig.doorbell, rig.reply_bells[0]).free == 4


@pytest.mark.parametrize("point", ["fold.targets", "fold.totals"])
def test_killed_while_it_folds_counters_nothing_counts_twice(rig: Rig, point: str) -> None:
    for _ in range(2):
        name = rig.steward.new_name(1, 1)
        InstanceBoard(rig.segment, name).add("batches", 7)
    rig.steward.clear_row(1)
    killed_steward(rig, "steward.clear_row(2)", point)
    successor = rig.successor()
    successor.clear_row(2)
    assert instance_totals(rig.segment)["batches"] == 14
    assert successor.rows() == []
