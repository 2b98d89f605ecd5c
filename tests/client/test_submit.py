"""Submitting and waiting: from threads, from an event loop, over deadlines and full queues."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import uvloop

from engine.client import EngineClient, Item, Ticket
from engine.clock import Deadline
from engine.errors import (
    ClientGone,
    DeadlineExceeded,
    DeploymentFailed,
    EngineClosed,
    InvalidField,
    ModelFailed,
    NotReady,
    QueueFull,
    UnknownDeployment,
)
from engine.shm.board import lane_totals
from tests.client.stage import PATIENCE_S, Stage, settings_of, wait_until
from tests.client.stage_instance import BROKEN

Attach = Callable[..., EngineClient]


def item(*numbers: float) -> Item:
    return Item(np.array(numbers, np.float32))


def submit(client: EngineClient, *items: Item, within_s: float = PATIENCE_S, level: int = 0) -> Ticket:
    return client.submit("echo", items, request_id="r", deadline=Deadline.after_s(within_s), level=level)


def first(answers: Sequence[Item]) -> list[float]:
    return [float(answer.probabilities[0]) for answer in answers]


def test_a_request_is_answered_with_its_own_content(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    stage.start_instance(version)
    client = attach()
    answers = submit(client, item(1, 2, 3, 4), item(5, 6, 7, 8)).wait()
    assert [answer.probabilities.tolist() for answer in answers] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert all(answer.batch_size in (1, 2) and answer.queue_s >= 0 and answer.compute_s >= 0 for answer in answers)
    assert client.description("echo") == version.description


def test_int16_travels_with_its_gain(stage: Stage, attach: Attach) -> None:
    stage.start_instance(stage.deploy())
    payload = np.array([16384, -8192], np.int16)
    answers = submit(attach(), Item(payload, gain=2.0)).wait()
    assert answers[0].probabilities[:2].tolist() == [1.0, -0.5]


def test_many_threads_get_their_own_answers(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=4)
    stage.start_instance(version)
    stage.start_instance(version)
    client = attach()
    wrong: list[object] = []

    def ask(thread: int) -> None:
        for k in range(100):
            number = float(1000 * thread + k + 2000)
            found = first(submit(client, item(number), item(number + 0.5)).wait())
            if found != [number, number + 0.5]:
                wrong.append((number, found))

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert version.steward.counts().free == 4 * 3
    assert lane_totals(version.segment)["succeeded"] == 800


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_an_event_loop_drives_and_threads_may_still_submit(
    stage: Stage, attach: Attach, run: Callable[..., None]
) -> None:
    version = stage.deploy(slots=4)
    stage.start_instance(version)
    client = attach()

    async def one(number: float) -> None:
        assert first(await submit(client, item(number))) == [number]

    async def program() -> None:
        client.use_event_loop(asyncio.get_running_loop())
        assert "nightscan-client" not in {thread.name for thread in threading.enumerate()}
        await asyncio.gather(*(one(float(k)) for k in range(100, 200)))
        found = await asyncio.to_thread(lambda: first(submit(client, item(7)).wait()))
        assert found == [7]

    run(program())
    client.use_event_loop(None)
    assert first(submit(client, item(8)).wait()) == [8]


def test_a_loop_awaits_what_a_thread_drives(stage: Stage, attach: Attach) -> None:
    stage.start_instance(stage.deploy())
    client = attach()

    async def program() -> Sequence[Item]:
        return await submit(client, item(3))

    assert first(asyncio.run(program())) == [3]


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_deadline_is_answered_on_time_while_the_instance_is_busy(
    stage: Stage, attach: Attach, on_loop: bool
) -> None:
    version = stage.deploy()
    busy = stage.start_instance(version, gated=True)
    client = attach()

    async def program() -> None:
        client.use_event_loop(asyncio.get_running_loop())
        await submit(client, item(1), within_s=0.05)

    with pytest.raises(DeadlineExceeded):
        if on_loop:
            asyncio.run(program())
        else:
            submit(client, item(1), within_s=0.05).wait()
    client.use_event_loop(None)
    busy.let_pass(100)
    wait_until(lambda: version.steward.counts().free == version.steward.counts().total, "every slot is free")
    assert first(submit(client, item(2)).wait()) == [2]
    assert lane_totals(version.segment)["expired"] == 1


def test_a_deadline_that_has_passed_counts_as_one_that_passes_a_moment_later(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    with pytest.raises(DeadlineExceeded):
        submit(attach(), item(1), within_s=-1)
    totals = lane_totals(version.segment)
    assert [totals[name] for name in ("requests", "failed", "expired", "refused")] == [1, 1, 1, 0]


def test_done_callbacks_hear_of_a_deadline_that_nobody_waits_for(stage: Stage, attach: Attach) -> None:
    stage.start_instance(stage.deploy(), gated=True)
    heard = threading.Event()
    ticket = submit(attach(), item(1), within_s=0.05)
    ticket.add_done_callback(lambda _: heard.set())
    assert heard.wait(PATIENCE_S)
    assert isinstance(ticket.error, DeadlineExceeded)


def test_cancelled_work_is_withdrawn(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    client = attach()
    ticket = submit(client, item(1), item(2))
    ticket.cancel()
    ticket.cancel()
    with pytest.raises(ClientGone):
        ticket.wait()
    assert version.steward.counts().free == version.steward.counts().total
    assert lane_totals(version.segment)["cancelled"] == 1


def test_an_item_that_fails_fails_alone(stage: Stage, attach: Attach) -> None:
    stage.start_instance(stage.deploy())
    ticket = submit(attach(), item(1), item(BROKEN), item(2))
    with pytest.raises(ModelFailed, match="this item is broken"):
        ticket.wait()
    errors = [each.error for each in ticket.items]
    assert [error is None for error in errors] == [True, False, True]


def test_more_requests_than_slots_wait_in_order_of_level_then_arrival(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=1)
    instance = stage.start_instance(version, gated=True, max_batch=1)
    client = attach(aging_ms=60_000)
    order: list[float] = []
    lock = threading.Lock()

    def note(number: float) -> Callable[[Ticket], None]:
        def done(_: Ticket) -> None:
            with lock:
                order.append(number)

        return done

    tickets = []
    for number, level in [(1.0, 0), (2.0, -1), (3.0, 0), (4.0, 1), (5.0, 0), (6.0, 1)]:
        tickets.append(submit(client, item(number), level=level))
        tickets[-1].add_done_callback(note(number))
    instance.let_pass(6)
    for ticket in tickets:
        ticket.wait()
    assert order == [1, 4, 6, 3, 5, 2]


def test_a_long_recording_leaves_slots_for_others(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=8)
    instance = stage.start_instance(version, gated=True, max_batch=1)
    client = attach()
    long = submit(client, *(item(float(k)) for k in range(20)))
    assert long.in_flight == 6
    short = submit(client, item(99))
    instance.let_pass(7)
    assert first(short.wait()) == [99]
    instance.let_pass(14)
    assert first(long.wait()) == [float(k) for k in range(20)]


def test_a_full_queue_refuses_and_says_when_to_come_back(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(slots=2)
    client, other = attach(request_queue_size=5), attach(request_queue_size=5)
    tickets = [submit(client, item(1)) for _ in range(3)] + [submit(other, item(1)) for _ in range(2)]
    for refused in (client, other):
        wait_until(lambda refused=refused: _is_refused(refused), "the bound is seen")  # type: ignore[misc]
    with pytest.raises(QueueFull) as caught:
        submit(client, item(1))
    assert caught.value.retry_after_s and caught.value.retry_after_s >= 1
    stage.start_instance(version)
    for ticket in tickets:
        ticket.wait()
    assert lane_totals(version.segment)["refused"] >= 3


def _is_refused(client: EngineClient) -> bool:
    try:
        submit(client, item(1)).cancel()
    except QueueFull:
        return True
    return False


def test_what_no_model_takes_is_refused_by_name(stage: Stage, attach: Attach) -> None:
    stage.deploy(frames=16)
    client = attach()
    for wrong in (np.zeros(17, np.float32), np.zeros(8, np.float64), np.zeros((2, 8), np.float32), np.zeros(0, "f4")):
        with pytest.raises(InvalidField):
            submit(client, Item(wrong))
    with pytest.raises(InvalidField):
        submit(client)
    with pytest.raises(DeadlineExceeded):
        submit(client, item(1), within_s=-1)


def test_an_item_belongs_to_one_request(stage: Stage, attach: Attach) -> None:
    """In two slots at once it could tell neither which is its own nor whose answer it carries."""
    version = stage.deploy()
    client, one, other = attach(), item(1), item(2)
    with pytest.raises(InvalidField, match="one request"):
        submit(client, one, other, one)
    ticket = submit(client, one)
    with pytest.raises(InvalidField, match="one request"):
        submit(client, other, one)
    stage.start_instance(version)
    assert first(ticket.wait()) == [1] and first(submit(client, other).wait()) == [2]
    with pytest.raises(InvalidField):
        submit(client, one)


def test_states_that_refuse(stage: Stage, attach: Attach) -> None:
    stage.tell_state("echo", "starting")
    client = attach()
    with pytest.raises(UnknownDeployment):
        client.submit("nobody", [item(1)], request_id="r", deadline=Deadline.after_s(1))
    with pytest.raises(NotReady, match="starting"):
        submit(client, item(1))
    assert not client.ready("echo") and not client.ready("nobody")
    version = stage.deploy()
    wait_until(lambda: client.ready("echo"), "the state is known")
    ticket = submit(client, item(1))
    stage.tell_state("echo", "closing", version=version.number)
    wait_until(lambda: client.state("echo") == "closing", "the state is known")
    with pytest.raises(EngineClosed):
        submit(client, item(1))
    stage.start_instance(version)
    assert first(ticket.wait()) == [1]


def test_requests_wait_for_the_first_warm_up(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(state="starting")
    client = attach()
    ticket = submit(client, item(1))
    assert not client.ready("echo") and not ticket.done
    stage.start_instance(version)
    assert first(ticket.wait()) == [1]


def test_a_failed_warm_up_answers_those_who_wait_for_it(stage: Stage, attach: Attach) -> None:
    version = stage.deploy(state="starting", slots=1)
    client = attach()
    tickets = [submit(client, item(1)) for _ in range(3)]
    stage.tell_state("echo", "failed", reason="out of luck")
    wait_until(lambda: client.state("echo") == "failed", "the state is known")
    stage.close_version(version)
    for ticket in tickets:
        with pytest.raises(DeploymentFailed, match="out of luck"):
            ticket.wait()
    with pytest.raises(DeploymentFailed, match="out of luck"):
        submit(client, item(1))


def test_closing_answers_those_who_wait(stage: Stage, attach: Attach) -> None:
    stage.deploy()
    client = attach()
    ticket = submit(client, item(1))
    client.close()
    client.close()
    with pytest.raises(EngineClosed):
        ticket.wait()
    with pytest.raises(EngineClosed):
        submit(client, item(1))


def test_nobody_listens(stage: Stage) -> None:
    stage.vanish()
    calls: list[str] = []
    with pytest.raises(NotReady):
        EngineClient.attach(
            runtime_dir=stage.runtime_dir,
            wait_s=0.2,
            settings=settings_of(),
            on_wait=lambda: calls.append("wait"),
            ensure=lambda: calls.append("ensure"),
        )
    assert {"wait", "ensure"} <= set(calls)
