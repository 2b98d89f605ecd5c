"""The instance's side: what is taken, in which order stores happen, what is refused."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from engine.clock import NS_PER_S, now_ns
from engine.errors import InternalError
from engine.shm.batch import BatchReply
from engine.shm.ready import ReadySlots
from engine.shm.records import LaneStatistics, Outcome
from engine.shm.taker import Taker
from engine.shm.words import LEASED, REPLIED, pack, state_of
from tests.shm.rig import CLASSES, Rig, answers, offered, one_by_one, reply_to, request, take_all, take_first, values


def test_the_chooser_sees_what_is_ready_in_all_lanes(rig: Rig) -> None:
    lanes, taker = [rig.owner(0), rig.owner(1)], rig.taker()
    seen: list[int] = []
    turns_ns = []
    for lane, level in ((0, 1), (1, -1), (1, 0)):
        sent = request(level=level)
        assert sent.ticket is not None and lanes[lane].offer(sent)
        turns_ns.append(sent.ticket.turn_ns)

    def choose(ready: ReadySlots) -> list[int]:
        seen.extend(ready.slots.tolist())
        return [seen[2], seen[0]]

    batch = taker.take(choose)
    assert seen == [0, 4, 5]
    assert batch.slots == [5, 0] and len(batch) == 2
    assert batch.words == [pack(0, taker.name, LEASED)] * 2
    assert [batch.request_id(k) for k in (0, 1)] == ["request-1"] * 2
    assert batch.column("caller") == [7, 7] and batch.column("level") == [1, 2]
    assert batch.column("arrival") == [turns_ns[2], turns_ns[0]]
    assert batch.column("gain") == [0.5, 0.5] and batch.column("isolate") == [0, 0]
    assert batch.part([1]).slots == [0] and batch.part([1]).taken_ns == batch.taken_ns


def test_nothing_ready_means_nothing_asked(rig: Rig) -> None:
    taker = rig.taker()
    assert not taker.take(lambda ready: pytest.fail("asked to choose from nothing"))


def test_a_look_counts_what_is_ready_and_takes_no_lease(rig: Rig) -> None:
    lane, taker, other = rig.owner(), rig.taker(), rig.lease()
    with other:
        assert taker.look() == 0
        for _ in range(3):
            offered(lane, request())
        assert taker.look() == 3
    taker.take(take_first)
    assert taker.look() == 2


def test_payloads_of_both_kinds_are_read_as_what_they_are(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request(3))
    floats = request()
    floats.payload = np.full(4, 2.5, dtype=np.float32)
    offered(lane, floats)
    samples, factors = taker.take(take_all).payloads()
    assert samples[0].dtype == np.int16 and samples[0].tolist() == [3] * 8
    assert samples[1].dtype == np.float32 and samples[1].tolist() == [2.5] * 4
    assert factors.dtype == np.float32 and factors.tolist() == [0.5 / 32768, 0.5]


def test_the_doorbell_rings_for_work_that_is_left(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    for _ in range(2):
        offered(lane, request())
    rig.doorbell.drain()
    taker.take(take_first)
    assert rig.doorbell.drain()
    taker.take(take_first)
    assert not rig.doorbell.drain()


@pytest.mark.parametrize("choice", [[0, 0], [1], [99]])
def test_a_choice_of_what_is_not_ready_takes_nothing(rig: Rig, choice: list[int]) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    with pytest.raises(InternalError, match="chose"):
        taker.take(lambda ready: choice)
    assert lane.statistics() == LaneStatistics(free=3, ready=1)
    assert rig.segment.holder == 0
    assert rig.lease().try_acquire()


def test_the_holder_is_named_while_it_chooses(rig: Rig) -> None:
    lane, taker, other = rig.owner(), rig.taker(), rig.lease()
    offered(lane, request())
    during: list[tuple[int, bool]] = []

    def choose(ready: ReadySlots) -> list[int]:
        during.append((rig.segment.holder, other.try_acquire()))
        return take_all(ready)

    taker.take(choose)
    assert during == [(taker.name, False)]
    assert rig.segment.holder == 0


def test_a_busy_lease_is_waited_for(rig: Rig) -> None:
    """Giving up would lose the wake-up that was just drained."""
    lane, taker, other = rig.owner(), rig.taker(), rig.lease()
    offered(lane, request(9))
    other.acquire()
    thread = threading.Thread(target=lambda: reply_to(taker, taker.take(take_all)))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive() and lane.statistics().ready == 1
    other.release()
    thread.join()
    assert values(lane.harvest()) == [9]


def test_a_payload_cannot_be_written(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    samples = taker.take(take_all).payloads().samples[0]
    with pytest.raises(ValueError, match="read-only"):
        samples[0] = 1


def test_a_slot_is_replied_to_once(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    slots = taker.take(take_all)
    reply_to(taker, slots)
    with pytest.raises(InternalError, match="not all are leased"):
        reply_to(taker, slots)
    lane.harvest()
    with pytest.raises(InternalError, match="not all are leased"):
        reply_to(taker, slots)


@pytest.mark.parametrize("shape", [None, (1, CLASSES + 1), (2, CLASSES), (CLASSES,)])
def test_an_answer_that_does_not_fit_is_not_stored(rig: Rig, shape: tuple[int, ...] | None) -> None:
    lane, taker = rig.owner(), rig.taker()
    for _ in range(2):
        offered(lane, request())
    good, bad = one_by_one(taker.take(take_all))
    wrong = None if shape is None else np.zeros(shape, dtype=np.float32)
    with pytest.raises(InternalError, match="for 3 classes"):
        taker.reply([BatchReply(good, Outcome.OK, answers(good)), BatchReply(bad, Outcome.OK, wrong)])
    assert lane.statistics().leased == 2


def test_a_long_error_is_cut_to_the_reply_area(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    taken = taker.take(take_all)
    taker.reply([BatchReply(taken, Outcome.MODEL_FAILED, None, error="é" * 1000)])
    assert str(lane.harvest()[0].error) == "é" * 256


def test_answers_of_a_batch_are_stored_before_any_word_and_words_before_any_bell(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes, taker = [rig.owner(0), rig.owner(1)], rig.taker()
    for lane in lanes:
        offered(lane, request())
    slots = taker.take(take_all)
    steps: list[tuple[str, int, bool]] = []

    def reach(point: str) -> None:
        replied = sum(state_of(word) == REPLIED for word in rig.segment.tables.word.tolist())
        steps.append((point, replied, any(bell.drain() for bell in rig.reply_bells)))

    monkeypatch.setattr("engine.crash_points.armed", True)
    monkeypatch.setattr("engine.shm.taker.reach", reach)
    reply_to(taker, slots)
    assert steps == [
        ("reply.written", 0, False),
        ("reply.slot", 1, False),
        ("reply.slot", 2, False),
        ("reply.rung", 2, True),
    ]


def test_the_death_of_a_frontend_is_seen_once_its_lane_is_swept(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    taken = taker.take(take_all)
    assert taken.sort_out(now_ns()) == ([0], [], [])
    assert rig.steward.sweep(0, lambda name: False) == 1
    assert taken.sort_out(now_ns()) == ([], [0], [])
    taker.reply([BatchReply(taken, Outcome.CANCELLED, None)])
    assert rig.steward.sweep(0, lambda name: False) == 0


def test_there_is_one_reply_bell_per_lane(rig: Rig) -> None:
    with pytest.raises(InternalError, match="1 reply bells for 2 lanes"):
        Taker(rig.segment, 1, rig.lease(), rig.doorbell, rig.reply_bells[:1])


def test_who_still_waits_is_read_when_it_is_asked(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    due_ns = now_ns() + NS_PER_S
    tickets = [offered(lane, request(deadline_ns=due_ns + k)) for k in range(3)]
    taken = taker.take(take_all)
    assert taken.sort_out(due_ns - 1) == ([0, 1, 2], [], [])
    assert tickets[1] is not None
    lane.abandon(tickets[1])
    assert taken.sort_out(due_ns) == ([2], [1], [0])
