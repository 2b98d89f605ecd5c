"""The instance's side: what is taken, in which order stores happen, what is refused."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

from engine.core.batching import Candidate
from engine.errors import InternalError
from engine.shm.records import LaneStatistics, Outcome
from engine.shm.taker import SlotResult, Taker
from engine.shm.words import REPLIED, state_of
from tests.shm.rig import CLASSES, Rig, answer, offered, reply_to, request, take_all, take_first, values


def test_the_chooser_sees_what_is_ready_in_all_lanes(rig: Rig) -> None:
    lanes, taker = [rig.owner(0), rig.owner(1)], rig.taker()
    seen: list[Candidate] = []
    arrivals = {}
    for lane, level in ((0, 1), (1, -1), (1, 0)):
        sent = request(level=level)
        assert sent.ticket is not None and lanes[lane].offer(sent)
        arrivals[sent.slot] = sent.ticket.turn_ns

    def choose(candidates: list[Candidate]) -> list[int]:
        seen.extend(candidates)
        return [candidates[2].slot, candidates[0].slot]

    slots = taker.take(choose)
    assert seen == [
        Candidate(0, 1, arrivals[0], 0, False),
        Candidate(4, -1, arrivals[4], 0, False),
        Candidate(5, 0, arrivals[5], 0, False),
    ]
    assert [(slot.index, slot.lane) for slot in slots] == [(5, 1), (0, 0)]
    assert slots[0].request_id == "request-1" and slots[0].caller_hash == 7
    assert slots[0].arrival_ns == arrivals[5] < slots[0].deadline_ns
    assert slots[0].int16 and slots[0].gain == 0.5 and not slots[0].isolate


def test_nothing_ready_means_nothing_asked(rig: Rig) -> None:
    taker = rig.taker()
    assert taker.take(lambda candidates: pytest.fail("asked to choose from nothing")) == []


def test_the_kind_of_payload_is_the_key(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    floats = request()
    floats.payload = np.full(4, 2.5, dtype=np.float32)
    offered(lane, floats)
    keys: list[int] = []

    def choose(candidates: list[Candidate]) -> list[int]:
        keys.extend(candidate.key for candidate in candidates)
        return take_all(candidates)

    slots = taker.take(choose)
    assert len(set(keys)) == 2
    assert not slots[1].int16
    assert slots[1].payload.view(np.float32).tolist() == [2.5] * 4


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
        taker.take(lambda candidates: choice)
    assert lane.statistics() == LaneStatistics(free=3, ready=1)
    assert rig.segment.holder == 0
    assert rig.lease().try_acquire()


def test_the_holder_is_named_while_it_chooses(rig: Rig) -> None:
    lane, taker, other = rig.owner(), rig.taker(), rig.lease()
    offered(lane, request())
    during: list[tuple[int, bool]] = []

    def choose(candidates: list[Candidate]) -> list[int]:
        during.append((rig.segment.holder, other.try_acquire()))
        return take_all(candidates)

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
    (slot,) = taker.take(take_all)
    with pytest.raises(ValueError, match="read-only"):
        slot.payload[0] = 1


def test_a_slot_is_replied_to_once(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    slots = taker.take(take_all)
    reply_to(taker, slots)
    with pytest.raises(InternalError, match="not leased"):
        reply_to(taker, slots)
    lane.harvest()
    with pytest.raises(InternalError, match="not leased"):
        reply_to(taker, slots)


@pytest.mark.parametrize("shape", [None, (CLASSES + 1,), ()])
def test_an_answer_that_does_not_fit_is_not_stored(rig: Rig, shape: tuple[int, ...] | None) -> None:
    lane, taker = rig.owner(), rig.taker()
    for _ in range(2):
        offered(lane, request())
    good, bad = taker.take(take_all)
    wrong = None if shape is None else np.zeros(shape, dtype=np.float32)
    with pytest.raises(InternalError, match="for 3 classes"):
        taker.reply([SlotResult(good, Outcome.OK, answer(good)), SlotResult(bad, Outcome.OK, wrong)])
    assert lane.statistics().leased == 2


def test_a_long_error_is_cut_to_the_reply_area(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    (slot,) = taker.take(take_all)
    taker.reply([SlotResult(slot, Outcome.MODEL_FAILED, None, error="é" * 1000)])
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
    (slot,) = taker.take(take_all)
    seen = [slot.frontend_dead]
    assert rig.steward.sweep(0, lambda name: False) == 1
    seen.append(slot.frontend_dead)
    assert seen == [False, True]
    taker.reply([SlotResult(slot, Outcome.CANCELLED, None)])
    assert rig.steward.sweep(0, lambda name: False) == 0


def test_there_is_one_reply_bell_per_lane(rig: Rig) -> None:
    with pytest.raises(InternalError, match="1 reply bells for 2 lanes"):
        Taker(rig.segment, 1, rig.lease(), rig.doorbell, rig.reply_bells[:1])


def test_out_of_very_many_the_oldest_of_each_level_are_looked_at() -> None:
    rig = Rig(lanes=2, slots=300)
    lanes = [rig.owner(0), rig.owner(1)]
    random_ = random.Random(5)
    sent: list[tuple[int, int, int]] = []  # level, arrival, slot
    for arrival_ns in random_.sample(range(100_000), 600):
        level = random_.choice((-1, 0, 0, 0, 0))
        waiting = request(level=level, turn_ns=arrival_ns)
        assert lanes[arrival_ns % 2].offer(waiting) or lanes[1 - arrival_ns % 2].offer(waiting)
        sent.append((level, arrival_ns, waiting.slot))
    name = rig.steward.new_name(1, 1)
    taker = Taker(rig.segment, name, rig.lease(), rig.doorbell, rig.reply_bells, max_batch=8)
    seen: list[int] = []

    def choose(candidates: list[Candidate]) -> list[int]:
        seen.extend(candidate.slot for candidate in candidates)
        return seen[:8]

    rig.doorbell.drain()
    assert len(taker.take(choose)) == 8
    assert rig.doorbell.drain()
    oldest = [slot for level in (-1, 0) for _, _, slot in sorted(entry for entry in sent if entry[0] == level)[:128]]
    assert sorted(seen) == sorted(oldest)
    rig.close()
