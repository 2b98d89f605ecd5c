"""The waiting line: its length as all processes see it, and no waiter asleep beside a free slot."""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine.client import EngineClient, Ticket
from engine.clock import NS_PER_S, Deadline
from engine.core.admission import slot_window
from engine.errors import DeploymentFailed, EngineClosed, EngineError
from engine.shm.board import queue_length
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.layout import LaneWord
from engine.shm.words import FREE, state_of
from tests.client.hand import Hand
from tests.client.stage import PATIENCE_S, Stage, Version, wait_until
from tests.client.test_submit import first, item, submit

Attach = Callable[..., EngineClient]


def gauge(version: Version) -> int:
    """What all processes read of the only client."""
    return sum(version.segment.lane_row(lane)[LaneWord.WAITING] for lane in range(version.segment.geometry.lanes))


@pytest.fixture
def without_belt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look once a second would hide what was lost."""
    monkeypatch.setattr("engine.client.engine_client.TICK_NS", 3600 * NS_PER_S)


@pytest.fixture
def at_refusal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Does something just after a request has found no slot, and before it can act on that: as if preempted there."""
    refusals, wanted, todo = [0], [0], [lambda: None]
    offer = LaneOwner.offer

    def then_do(self: LaneOwner, one: Item) -> bool:
        sent = offer(self, one)
        if not sent:
            refusals[0] += 1
            if refusals[0] == wanted[0]:
                todo[0]()
        return sent

    def arrange(number: int, action: Callable[[], None]) -> None:
        refusals[0], wanted[0], todo[0] = 0, number, action

    monkeypatch.setattr(LaneOwner, "offer", then_do)
    return arrange


# --- the gauge ------------------------------------------------------------------------------------------------------


class Walk:
    """Random steps of one client, with what must hold after each."""

    def __init__(self, stage: Stage, client: EngineClient, chance: random.Random) -> None:
        self.stage = stage
        self.client = client
        self.chance = chance
        self.tickets: list[Ticket] = []
        self.version = next(iter(stage.versions.values()))
        self.left: list[Version] = []

    def in_line(self) -> list[Ticket]:
        """By the tickets' own account, not the line's."""
        window = slot_window(self.version.segment.geometry.slots)
        return [ticket for ticket in self.tickets if ticket.wants_slot(window)]

    def waiting(self) -> int:
        return len(self.in_line())

    def check(self) -> None:
        wait_until(lambda: not self.version.steward.counts().replied, "answers are home")
        wait_until(lambda: not self.waiting() or not self._is_free(), "nobody waits beside a free slot")
        wait_until(lambda: gauge(self.version) == self.waiting(), "the gauge is the truth")
        assert not any(gauge(version) for version in self.left)

    def _is_free(self) -> bool:
        words = self.version.segment.tables.word.tolist()
        return FREE in map(state_of, words[: self.version.segment.geometry.slots])  # of lane 0, the client's

    def submit(self) -> None:
        items = [item(float(k)) for k in range(self.chance.choice((1, 1, 2, 5)))]
        self.tickets.append(submit(self.client, *items, level=self.chance.choice((-1, 0, 1))))
        assert gauge(self.version) == self.waiting()

    def cancel(self) -> None:
        if self.tickets:
            self.chance.choice(self.tickets).cancel()
            assert gauge(self.version) == self.waiting()

    def expire(self) -> None:
        if self.tickets:
            self.chance.choice(self.tickets).expire()
            assert gauge(self.version) == self.waiting()

    def answer(self) -> None:
        with Hand(self.version) as hand:
            hand.serve()

    def refuse(self) -> None:
        waiting = self.in_line()
        for state in ("failed", "ready"):
            self.stage.tell_state("echo", state, version=self.version.number, reason="no luck")
            wait_until(functools.partial(self._is, state), "the state is known")
        wait_until(lambda: all(ticket.done for ticket in waiting), "everybody in line is refused")

    def _is(self, state: str) -> bool:
        return self.client.state("echo") == state

    def swap(self) -> None:
        old = self.version
        self.version = self.stage.deploy(number=old.number + 1, slots=self.chance.choice((1, 2)))
        self.stage.close_version(old)
        wait_until(lambda: self.stage.is_idle(old), "the old version is empty")
        self.left.append(old)


def test_the_gauge_is_the_truth_after_every_step(stage: Stage, attach: Attach) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage.deploy(slots=2)
    walk = Walk(stage, attach(), chance)
    steps = [walk.submit] * 12 + [walk.cancel, walk.expire] * 3 + [walk.answer] * 6 + [walk.refuse, walk.swap]
    for _ in range(200):
        chance.choice(steps)()
        walk.check()
    for ticket in walk.tickets:
        ticket.cancel()
    assert gauge(walk.version) == 0 == queue_length(walk.version.segment)


def test_an_idle_engine_admits_after_its_line_was_refused(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=1)
    client = attach(request_queue_size=4)
    tickets = [submit(client, item(1)) for _ in range(4)]
    assert gauge(version) == 3
    stage.tell_state("echo", "failed", version=1, reason="the disk is away")
    for ticket in tickets[1:]:
        with pytest.raises(DeploymentFailed, match="the disk is away"):
            ticket.wait()
    stage.tell_state("echo", "ready", version=1)
    wait_until(lambda: client.ready("echo"), "the deployment has recovered")
    stage.start_instance(version)
    assert first(tickets[0].wait()) == [1]
    assert gauge(version) == 0
    assert [first(submit(client, item(2)).wait()) for _ in range(8)] == [[2]] * 8


def test_a_lane_that_is_given_back_waits_for_nobody(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=1)
    client = attach()
    for _ in range(3):
        submit(client, item(1))
    assert gauge(version) == 2
    client.close()
    assert gauge(version) == 0


def test_a_gauge_that_was_spoilt_is_right_again_a_second_later(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=1)
    attach()
    version.segment.lane_row(0)[LaneWord.WAITING] = 7
    wait_until(lambda: gauge(version) == 0, "the next tick")


# --- no lost wake-up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.usefixtures("without_belt")
def test_a_slot_that_is_freed_while_a_waiter_looks_for_one_is_given_to_it(
    stage: Stage, attach: Attach, at_refusal: Callable[[int, Callable[[], None]], None], number: int
) -> None:
    version = stage.deploy(slots=1)
    client = attach()
    with Hand(version) as hand:
        before = submit(client, item(1))

        def free_the_slot() -> None:
            assert hand.serve() == 1
            wait_until(lambda: before.done, "the slot is home")

        at_refusal(number, free_the_slot)
        ticket = submit(client, item(2))
        wait_until(lambda: version.steward.counts().ready, "the waiter has the slot")
        hand.serve()
        assert first(ticket.wait()) == [2]


@pytest.mark.usefixtures("without_belt")
def test_a_cancelled_request_gives_its_slot_to_the_next_in_line(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=1)
    client = attach()
    tickets = [submit(client, item(float(k))) for k in range(3)]
    tickets[0].cancel()
    assert tickets[1].in_flight == 1 and version.steward.counts().ready == 1
    tickets[1].expire()
    assert tickets[2].in_flight == 1 and gauge(version) == 0


@pytest.mark.usefixtures("without_belt")
def test_a_request_that_comes_while_its_deployment_fails_is_refused(
    stage: Stage, attach: Attach, at_refusal: Callable[[int, Callable[[], None]], None]
) -> None:
    stage.deploy(slots=1)
    client = attach()
    submit(client, item(1))

    def fail() -> None:
        stage.tell_state("echo", "failed", version=1, reason="out of luck")
        wait_until(lambda: client.state("echo") == "failed", "the state is known")

    at_refusal(1, fail)
    with pytest.raises(DeploymentFailed, match="out of luck"):
        submit(client, item(2)).wait()


def test_what_a_long_request_has_not_sent_when_its_deployment_goes_is_refused_at_once(
    stage: Stage, attach: Attach
) -> None:
    version = stage.deploy(slots=4)
    client = attach()
    with Hand(version) as hand:
        long = submit(client, *(item(float(k)) for k in range(9)))
        taken = hand.take()
        stage.tell_state("echo", "closing", version=1)
        version.segment.set_closing()
        wait_until(lambda: client.state("echo") == "closing", "the state is known")
        hand.answer(taken)
        with pytest.raises(EngineClosed):
            long.wait()


@pytest.mark.usefixtures("without_belt")
def test_threads_that_are_preempted_anywhere_lose_no_wake_up(
    stage: Stage, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few slots, many threads, pauses where the line is looked at and where a slot was not to be had."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for where in ("engine.client.dispatch.Dispatcher._send_from", "engine.client.line.SharedLine.settle"):
        monkeypatch.setattr(where, _pausing(where, chance))
    version = stage.deploy(slots=2)
    stage.start_instance(version, max_batch=1)
    client = attach()
    failures: list[EngineError] = []

    def ask(thread: int) -> None:
        for k in range(60):
            numbers = [float(1000 * thread + 10 * k + each) for each in range(1 + k % 3)]
            ticket = submit(client, *map(item, numbers))
            if k % 5 == 4:
                ticket.cancel()
                continue
            try:
                assert first(ticket.wait()) == numbers
            except EngineError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    wait_until(lambda: version.steward.counts().free == version.steward.counts().total, "every slot is home")
    assert gauge(version) == 0


def _pausing(where: str, chance: random.Random) -> Callable[..., object]:
    """The method of that name, with a pause behind it now and then."""
    module, owner, name = where.rsplit(".", 2)
    method = getattr(getattr(__import__(module, fromlist=[owner]), owner), name)

    def paused(*arguments: object, **named: object) -> object:
        result = method(*arguments, **named)
        if chance.random() < 0.1:
            time.sleep(chance.random() * 0.003)
        return result

    return paused


# --- callbacks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level("CRITICAL", logger="engine.client.ticket"):
        yield caplog


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("end", ["answered", "expired"])
def test_a_callback_that_fails_takes_nobody_with_it(stage: Stage, attach: Attach, end: str) -> None:
    version = stage.deploy(slots=4)
    client = attach()

    def fail(_: Ticket) -> None:
        raise RuntimeError("somebody else's code")

    within_s = PATIENCE_S if end == "answered" else 0.05
    deadline = Deadline.after_s(within_s)
    tickets = [client.submit("echo", [item(1)], request_id="r", deadline=deadline) for _ in range(3)]
    for ticket in tickets:
        ticket.add_done_callback(fail)
    with Hand(version) as hand:
        if end == "answered":
            assert hand.serve(3) == 3
        wait_until(lambda: all(ticket.done for ticket in tickets), "all three have ended")
