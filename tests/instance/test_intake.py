"""What one instance takes and what it leaves to another: two intakes over one lane, in one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from engine.clock import NS_PER_MS
from engine.core.batch_size import BatchSize
from engine.instance.intake import Intake
from engine.messages import process_start_ticks
from engine.shm.batch import Batch, BatchReply
from engine.shm.board import InstanceBoard
from engine.shm.lease import Lease
from engine.shm.records import Outcome
from engine.shm.steward import Steward
from engine.shm.taker import Taker
from tests.core.model_costs import CONSTANT, LINEAR, Cost
from tests.instance.conftest import Bench
from tests.instance.test_processor import sound

MAX_BATCH = 8


class Pair:
    """Two instances of one segment, each on a device of its own choice."""

    def __init__(
        self, bench: Bench, cost: Cost, devices: tuple[str, str] = ("cpu", "cpu"), longest_wait_ms: float = 60_000.0
    ) -> None:
        self.paused_s: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None  # what happens while one waits
        self.bench = bench
        self._lease, self.steward = Lease(bench.segment.fd), Steward(bench.segment)
        me = os.getpid(), process_start_ticks(os.getpid())
        self.names = [self.steward.new_name(*me, device=device) for device in devices]
        self.boards = [InstanceBoard(bench.segment, name) for name in self.names]
        self.intakes = []
        self.takers = []
        for name, board in zip(self.names, self.boards):
            taker = Taker(bench.segment, name, self._lease, bench.doorbell, bench.taker._reply_bells)
            size = self.known(cost)
            self.takers.append(taker)
            self.intakes.append(Intake(taker, size, board, aging_ms=1000.0, longest_wait_ms=longest_wait_ms))

    def pause(self, longest_s: float) -> bool:
        self.paused_s.append(longest_s)
        self.meanwhile()
        return len(self.paused_s) < 3

    @staticmethod
    def known(cost: Cost) -> BatchSize:
        size = BatchSize(MAX_BATCH)
        for items in (8, 4, 2, 1):
            for _ in range(4):
                size.add(items, cost.ns(items))
        return size

    def submit(self, count: int, *, deadline_s: float = 60.0) -> None:
        for seed in range(count):
            self.bench.submit(sound(seed), deadline_s=deadline_s)

    def take(self, which: int) -> int:
        """Items that this one takes."""
        batch = self.intakes[which].take(self.pause, busy=False)
        self.taken = batch
        return len(batch.slots) if isinstance(batch, Batch) else 0

    def answer(self, which: int) -> None:
        """What this one has taken, which is free again."""
        assert self.taken is not None
        self.takers[which].reply([BatchReply(self.taken, Outcome.CANCELLED, None)])
        self.bench.owner.harvest()
        self.intakes[which].answered(len(self.taken))

    def close(self) -> None:
        self.taken = None
        self.boards.clear()
        self.intakes.clear()
        self.takers.clear()
        self._lease.close()
        self.steward.close()


@pytest.fixture
def linear(bench: Bench) -> Iterator[Pair]:
    made = Pair(bench, LINEAR)
    yield made
    made.close()


@pytest.mark.parametrize(("ready", "first", "second"), [(1, 1, 0), (2, 1, 1), (3, 2, 1), (7, 4, 3), (8, 4, 4)])
def test_two_that_have_nothing_to_do_share_what_is_ready(linear: Pair, ready: int, first: int, second: int) -> None:
    for board in linear.boards:
        board.rest()
    linear.submit(ready)
    assert linear.bench.doorbell.drain()
    assert linear.take(0) == first
    assert linear.bench.doorbell.drain() == (second > 0), "the other one is woken for what is left"
    assert linear.take(1) == second and linear.bench.owner.statistics().ready == 0


def test_one_whose_neighbour_works_takes_all(linear: Pair) -> None:
    linear.boards[0].rest()
    linear.submit(4)
    assert linear.take(0) == 4


def test_both_share_what_both_were_woken_for(linear: Pair) -> None:
    """Each is awake and about to look: until it has taken something it counts as idle for the other."""
    for board in linear.boards:
        board.rest()
    linear.submit(6)
    assert [linear.take(0), linear.take(1)] == [3, 3]


def test_the_dead_get_no_share(linear: Pair) -> None:
    for board in linear.boards:
        board.rest()
    linear.steward.clear_row(linear.names[1])
    linear.submit(4)
    assert linear.take(0) == 4


@pytest.mark.parametrize(("devices", "first"), [
    (("cuda:0", "cuda:1"), 2), (("cuda:0", "cuda:0"), 4), (("cuda:0", "cpu"), 2), (("cpu", "cuda:0"), 4),
])
def test_of_a_gpu_itself_nobody_gets_a_share(bench: Bench, devices: tuple[str, str], first: int) -> None:
    pair = Pair(bench, LINEAR, devices)
    for board in pair.boards:
        board.rest()
    pair.submit(4)
    assert pair.take(0) == first
    pair.close()


def test_where_a_batch_costs_something_by_itself_one_takes_all(bench: Bench) -> None:
    pair = Pair(bench, CONSTANT)
    for board in pair.boards:
        board.rest()
    pair.submit(8)
    assert [pair.take(0), pair.take(1)] == [8, 0]
    pair.close()


def test_the_tightest_deadline_makes_a_batch_smaller_and_goes_first(linear: Pair) -> None:
    linear.submit(4)
    linear.bench.submit(sound(9), deadline_s=0.050)  # the last of five, which take 100 ms
    assert linear.take(0) == 2
    assert linear.taken is not None
    spare_ns = [deadline - linear.taken.taken_ns for deadline in linear.taken.column("deadline")]
    assert spare_ns[0] < 50 * NS_PER_MS < spare_ns[1]


# --- waiting for company --------------------------------------------------------------------------------------------

SECONDS = Cost(4000.0, 0.0)  # so that a quarter of it is long, however busy the machine is


@pytest.fixture
def waiting(bench: Bench) -> Iterator[Pair]:
    """The first one has seen once, without waiting, that seven more came soon after the first: it expects two."""
    made = Pair(bench, SECONDS)
    made.intakes[0].answered(8)
    made.submit(1)
    made.take(0)
    made.submit(7)
    made.answer(0)
    made.take(0)
    made.answer(0)
    yield made
    made.close()


def test_it_waits_for_those_who_return_and_takes_them_together(waiting: Pair) -> None:
    waiting.submit(1)
    waiting.meanwhile = lambda: waiting.submit(1)
    assert waiting.take(0) == 3
    assert len(waiting.paused_s) == 2 and 0 < waiting.paused_s[-1] <= waiting.paused_s[0] <= 1.0


def test_one_that_was_asleep_does_not_take_itself_for_somebody_idle(waiting: Pair) -> None:
    waiting.boards[0].rest()
    waiting.submit(1)
    waiting.meanwhile = lambda: waiting.submit(1)
    assert waiting.take(0) == 3


def test_it_waits_no_longer_when_there_is_something_else_to_do(waiting: Pair) -> None:
    waiting.submit(1)
    assert waiting.take(0) == 1 and len(waiting.paused_s) == 3


def test_who_answered_one_alone_waits_for_nobody(waiting: Pair) -> None:
    waiting.intakes[0].answered(1)
    waiting.submit(1)
    assert waiting.take(0) == 1 and waiting.paused_s == []


def test_nobody_waits_beside_one_that_has_nothing_to_do(waiting: Pair) -> None:
    waiting.boards[1].rest()
    waiting.submit(1)
    assert waiting.take(0) == 1 and waiting.paused_s == []


def test_no_wait_costs_anybody_a_deadline(waiting: Pair) -> None:
    waiting.submit(1, deadline_s=4.5)
    assert waiting.take(0) == 1 and waiting.paused_s == []


def test_where_the_settings_allow_no_wait_there_is_none(bench: Bench) -> None:
    pair = Pair(bench, SECONDS, longest_wait_ms=0.0)
    for _ in range(3):
        pair.submit(1)
        assert pair.take(0) == 1
        pair.submit(7)
        pair.answer(0)
        assert pair.take(0) == 7
        pair.answer(0)
    assert pair.paused_s == []
    pair.close()
