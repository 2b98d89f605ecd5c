"""The owner's side of a lane: submit, harvest, abandon."""

from __future__ import annotations

import select
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.clock import NS_PER_S, now_ns
from engine.errors import EngineClosed, InternalError, InvalidField, ModelFailed
from engine.shm.batch import BatchReply
from engine.shm.bell import Bell
from engine.shm.lane import LaneOwner
from engine.shm.layout import LaneWord
from engine.shm.records import LaneStatistics, Outcome
from engine.shm.taker import Taker
from engine.shm.words import FREE, LEASED, READY, WRITING, generation_of, pack, state_of
from tests.shm.rig import Rig, offered, reply_to, request, take_all, take_first, values


PATIENCE_S = 20.0


class LateBell(Bell):
    """A reply bell that is drained just after an instance has answered everything."""

    def __init__(self, fd: int, taker: Taker) -> None:
        super().__init__(fd)
        self.taker = taker

    def drain(self) -> bool:
        reply_to(self.taker, self.taker.take(take_all))
        return super().drain()


def rang(rig: Rig) -> bool:
    """Whether the doorbell has rung since the last look."""
    return rig.doorbell.drain()


def test_a_request_comes_back_with_its_answer_and_its_moments(rig: Rig) -> None:
    lane, taker = rig.owner(1), rig.taker()
    began_ns, item = now_ns(), request(5, words=10)
    assert offered(lane, item) and rang(rig)
    assert lane.statistics() == LaneStatistics(free=3, ready=1)
    slots = taker.take(take_all)
    assert lane.statistics() == LaneStatistics(free=3, leased=1)
    taker.start(slots)
    reply_to(taker, slots)
    assert lane.statistics() == LaneStatistics(free=3, replied=1)
    assert select.select([rig.reply_bells[1]], [], [], 0)[0]
    assert item.lane is lane and lane.harvest() == [item] and lane.harvest() == []
    assert item.outcome is Outcome.OK and item.error is None and item.batch_size == 1
    assert item.probabilities.tolist() == [5, 10, 0.5]
    assert item.queue_s > 0 and item.compute_s > 0
    assert item.queue_s + item.compute_s <= (now_ns() - began_ns) / NS_PER_S
    assert lane.statistics() == LaneStatistics(free=4) and lane.outstanding == 0
    assert not rig.reply_bells[1].drain()


def test_an_answer_is_a_copy(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    kept = []
    for value in range(9):  # more than there are slots
        offered(lane, request(value))
        reply_to(taker, taker.take(take_all))
        kept += lane.harvest()
    assert values(kept) == list(range(9))


def test_a_full_lane_takes_nothing_and_says_so(rig: Rig) -> None:
    lane = rig.owner()
    tickets = [offered(lane, request(value)) for value in range(4)]
    assert all(tickets) and lane.free == 0
    assert offered(lane, request()) is None
    assert lane.outstanding == 4
    lane.abandon(tickets[2])  # type: ignore[arg-type]
    assert offered(lane, request()) is not None


def test_the_slot_that_was_freed_last_is_claimed_first_and_a_busy_one_never(rig: Rig) -> None:
    lane, taker = rig.owner(1), rig.taker()
    first = offered(lane, request())
    assert first is not None
    for value in range(8):
        offered(lane, request(value))
        slots = taker.take(lambda found: [slot for slot in take_all(found) if slot != first.slot])
        assert slots.slots == [5]
        reply_to(taker, slots)
        lane.harvest()


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (np.zeros(33, dtype=np.int16), "66 bytes, a slot takes 1 to 64"),
        (np.zeros(0, dtype=np.int16), "0 bytes"),
        (np.zeros((8, 4), dtype=np.int16)[:, 0], "not contiguous"),
    ],
)
def test_a_payload_that_does_not_fit_takes_no_slot(rig: Rig, payload: NDArray[np.int16], text: str) -> None:
    lane = rig.owner()
    spoilt = request()
    spoilt.payload = payload
    with pytest.raises(InvalidField, match=text):
        offered(lane, spoilt)
    assert lane.free == 4


def test_a_request_that_cannot_be_written_gives_its_slot_back(rig: Rig) -> None:
    lane = rig.owner()
    spoilt = request(deadline_ns=-1)
    with pytest.raises(ValueError, match="invalid value"):
        offered(lane, spoilt)
    assert lane.statistics() == LaneStatistics(free=4) and lane.free == 4


def test_a_closing_segment_takes_nothing(rig: Rig) -> None:
    lane = rig.owner()
    rig.segment.set_closing()
    with pytest.raises(EngineClosed):
        offered(lane, request())
    assert lane.statistics() == LaneStatistics(free=4)


def test_closing_while_a_payload_is_copied_refuses_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look, after the copy: READY in a closing segment might never be taken."""
    lane = rig.owner()
    fill = LaneOwner._fill

    def fill_then_close(self: LaneOwner, *arguments: object) -> None:
        fill(self, *arguments)  # type: ignore[arg-type]
        assert self.statistics() == LaneStatistics(free=3, writing=1)
        rig.segment.set_closing()

    monkeypatch.setattr(LaneOwner, "_fill", fill_then_close)
    with pytest.raises(EngineClosed):
        offered(lane, request())
    assert lane.statistics() == LaneStatistics(free=4) and lane.outstanding == 0
    assert not rang(rig)


def test_an_item_that_nobody_waits_for_takes_no_slot(rig: Rig) -> None:
    lane, item = rig.owner(), request()
    item.ticket = None
    assert lane.offer(item) and lane.free == 4 and not rang(rig)


def test_the_segment_is_let_go_of_only_when_no_payload_is_being_copied_into_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = rig.owner()
    copying, go_on = threading.Event(), threading.Event()
    fill, ends = LaneOwner._fill, []

    def fill_slowly(self: LaneOwner, *arguments: object) -> None:
        copying.set()
        assert go_on.wait(PATIENCE_S)
        fill(self, *arguments)  # type: ignore[arg-type]

    def offer() -> None:
        with pytest.raises(EngineClosed):
            lane.offer(request())
        ends.append("refused")

    def close() -> None:
        assert lane.close()
        ends.append("closed")

    monkeypatch.setattr(LaneOwner, "_fill", fill_slowly)
    threads = [threading.Thread(target=offer), threading.Thread(target=close)]
    threads[0].start()
    assert copying.wait(PATIENCE_S) and lane.is_busy
    threads[1].start()
    while lane.enter():  # until it closes
        lane.leave()
    assert threads[1].is_alive() and not ends
    go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["closed", "refused"] and not lane.close()
    assert lane.statistics() == LaneStatistics(free=4) and not rang(rig)


def test_a_lane_with_slots_in_use_has_no_owner(rig: Rig) -> None:
    rig.owner(0)
    rig.segment.tables.word[1] = pack(0, 0, WRITING)
    with pytest.raises(InternalError, match="handed over with slots in use"):
        LaneOwner(rig.segment, 0, rig.lease(), rig.doorbell, rig.reply_bells[0])


def test_a_reply_to_another_generation_is_our_bug(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    reply_to(taker, taker.take(take_all))
    rig.segment.tables.word[0] += 1 << 32
    with pytest.raises(InternalError, match="answers generation 0"):
        lane.harvest()


def test_the_generation_wraps(rig: Rig) -> None:
    last = (1 << 32) - 1
    for index in range(4):
        rig.segment.tables.word[index] = pack(last, 0, FREE)
    lane, taker = rig.owner(), rig.taker()
    for value in range(8):
        offered(lane, request(value))
        slots = taker.take(take_all)
        assert generation_of(slots.words[0]) == (last + value) % (1 << 32)
        reply_to(taker, slots)
        assert values(lane.harvest()) == [value]
    assert [generation_of(rig.segment.tables.word[index]) for index in range(4)] == [7, last, last, last]


def test_an_error_comes_back_as_text(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    offered(lane, request())
    taken = taker.take(take_all)
    taker.reply([BatchReply(taken, Outcome.MODEL_FAILED, None, error="index out of range: é")])
    (item,) = lane.harvest()
    assert item.outcome is Outcome.MODEL_FAILED and item.probabilities.size == 0
    assert type(item.error) is ModelFailed and str(item.error) == "index out of range: é"


def test_a_reply_between_look_and_drain_is_not_lost(rig: Rig) -> None:
    """Looked first and drained then, the ring of this reply would be swallowed and its owner sleep on."""
    rig.steward.assign(0, 1, 1)
    bell = LateBell(rig.reply_bells[0].fileno(), rig.taker())
    lane = LaneOwner(rig.segment, 0, rig.lease(), rig.doorbell, bell)
    offered(lane, request(4))
    assert values(lane.harvest()) == [4]


# --- abandon --------------------------------------------------------------------------------------------------------


def test_abandoned_before_it_was_taken_the_slot_is_free_at_once(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    ticket = offered(lane, request())
    assert ticket is not None
    lane.abandon(ticket)
    lane.abandon(ticket)
    assert ticket.ticket is None and lane.statistics() == LaneStatistics(free=4)
    assert not taker.take(take_all)


def test_abandoned_while_the_lease_is_busy_it_is_tried_again(rig: Rig) -> None:
    lane, other = rig.owner(), rig.lease()
    ticket = offered(lane, request())
    assert ticket is not None
    with other:
        lane.abandon(ticket)
        assert lane.harvest() == []
        # Freeing it here would corrupt the request of an instance that is just taking it.
        assert lane.statistics().ready == 1
    assert lane.harvest() == []
    assert lane.statistics() == LaneStatistics(free=4)


def test_abandoned_while_leased_the_slot_returns_by_its_reply_and_nobody_hears_of_it(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    ticket = offered(lane, request())
    taken = taker.take(take_all)
    assert ticket is not None
    seen = taken.column("cancel")
    lane.abandon(ticket)
    seen += taken.column("cancel")
    assert seen == [0, 1]
    assert lane.statistics().leased == 1
    taker.reply([BatchReply(taken, Outcome.CANCELLED, None)])
    assert lane.harvest() == []
    assert lane.statistics() == LaneStatistics(free=4)


def test_taken_between_the_cancellation_and_the_retry(rig: Rig) -> None:
    lane, taker, other = rig.owner(), rig.taker(), rig.lease()
    ticket = offered(lane, request())
    assert ticket is not None
    with other:
        lane.abandon(ticket)
    slots = taker.take(take_first)
    assert slots.column("cancel") == [1]
    assert lane.harvest() == []
    assert state_of(rig.segment.tables.word[0]) == LEASED
    reply_to(taker, slots)
    assert lane.harvest() == []


def test_abandoning_what_was_answered_changes_nothing(rig: Rig) -> None:
    lane, taker = rig.owner(), rig.taker()
    ticket = offered(lane, request(1))
    reply_to(taker, taker.take(take_all))
    lane.harvest()
    for value in range(4):
        offered(lane, request(value))  # the slot of the old ticket is among these
    assert ticket is not None
    lane.abandon(ticket)
    assert ticket.ticket is not None
    assert [state_of(word) for word in rig.segment.tables.word[:4].tolist()] == [READY] * 4


def test_the_gauge_of_those_that_wait_is_seen_by_all(rig: Rig) -> None:
    lane = rig.owner(1)
    lane.tell_waiting(17)
    assert [rig.segment.lane_row(k)[LaneWord.WAITING] for k in (0, 1)] == [0, 17]
    lane.close()
    lane.tell_waiting(18)
    assert rig.segment.lane_row(1)[LaneWord.WAITING] == 0
