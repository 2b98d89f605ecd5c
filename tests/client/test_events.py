"""Deaths, swaps and lost supervisors: what a client does when the world around it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from engine.client import EngineClient
from engine.errors import EngineClosed, ModelCrashed, NotReady
from tests.client.hand import Hand
from tests.client.stage import PATIENCE_S, Stage, settings_of, wait_until
from tests.client.stage_instance import DEADLY
from tests.client.test_submit import first, item, submit

Attach = Callable[..., EngineClient]


def test_killing_the_instance_in_mid_work_loses_nothing(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    doomed = stage.start_instance(version, gated=True)
    client = attach()
    tickets = [submit(client, item(float(k))) for k in range(4)]
    wait_until(lambda: version.steward.counts().leased, "the instance works")
    stage.start_instance(version)
    doomed.kill()
    assert [first(ticket.wait()) for ticket in tickets] == [[0], [1], [2], [3]]


def test_what_kills_two_instances_gets_a_verdict_and_its_neighbours_an_answer(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    client = attach()
    tickets = [submit(client, item(number)) for number in (1, DEADLY, 2)]
    for _ in range(2):
        instance = stage.start_instance(version)
        instance.process.wait()
    stage.start_instance(version)
    assert [first(tickets[0].wait()), first(tickets[2].wait())] == [[1], [2]]
    with pytest.raises(ModelCrashed):
        tickets[1].wait()


def test_a_swap_under_load_fails_nothing(stage: Stage, attach: Attach) -> None:
    old = stage.deploy(slots=4)
    stage.start_instance(old)
    client = attach()
    stop = threading.Event()
    answered: list[float] = []
    failures: list[BaseException] = []

    def load(seed: int) -> None:
        number = float(seed)
        while not stop.is_set():
            number += 10
            try:
                assert first(submit(client, item(number)).wait()) == [number]
                answered.append(number)
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=load, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 6):
            mark = len(answered)
            new = stage.deploy(number=number, slots=4)
            stage.start_instance(new)
            stage.close_version(old)
            wait_until(lambda old=old: stage.is_idle(old), "the old version is empty")  # type: ignore[misc]
            assert old.steward.counts().free == old.steward.counts().total
            wait_until(lambda mark=mark: len(answered) > mark + 20 or failures, "answers go on")  # type: ignore[misc]
            old = new
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures


def test_work_of_a_version_that_dies_while_closing_goes_to_the_next(stage: Stage, attach: Attach) -> None:
    old = stage.deploy()
    doomed = stage.start_instance(old, gated=True)
    client = attach()
    tickets = [submit(client, item(float(k))) for k in range(6)]
    wait_until(lambda: old.steward.counts().leased, "the instance works")
    new = stage.deploy(number=2)
    stage.close_version(old)
    doomed.kill()
    stage.start_instance(new)
    assert [first(ticket.wait()) for ticket in tickets] == [[float(k)] for k in range(6)]
    wait_until(lambda: stage.is_idle(old), "the old version is empty")


def test_an_undeployment_refuses_what_its_last_instance_leaves(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    instance = stage.start_instance(version, gated=True, max_batch=1)
    client = attach()
    served = submit(client, item(1))
    wait_until(lambda: version.steward.counts().leased, "the instance works")
    left = [submit(client, item(2)) for _ in range(4)]
    stage.tell_state("echo", "closing", version=1)
    stage.close_version(version)
    wait_until(lambda: client.state("echo") == "closing", "the state is known")
    instance.let_pass()
    assert first(served.wait()) == [1]
    instance.kill()
    for ticket in left:
        with pytest.raises(EngineClosed):
            ticket.wait()
    wait_until(lambda: stage.is_idle(version), "nothing is left")
    assert version.steward.counts().free == version.steward.counts().total


def test_a_death_leaves_what_an_instance_holds_that_was_not_heard_of_yet(stage: Stage, attach: Attach) -> None:
    """Its pidfd is on its way when the version begins to close and the only instance that is known dies."""
    version = stage.deploy()
    known = stage.start_instance(version, gated=True)
    client = attach()
    served = submit(client, item(1))
    wait_until(lambda: version.steward.counts().leased, "the known instance works")
    ticket = submit(client, item(2))
    with Hand(version) as unheard:
        taken = unheard.take()
        version.segment.set_closing()
        known.kill()
        wait_until(lambda: version.steward.counts().ready, "the death is known")
        unheard.answer(taken)
        assert first(ticket.wait()) == [2]
        unheard.serve()
    assert first(served.wait()) == [1]


def test_serving_goes_on_without_a_supervisor_and_the_next_one_is_told(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    doomed = stage.start_instance(version)
    survivor = stage.start_instance(version, gated=True)
    client = attach()
    stage.vanish()
    ticket = submit(client, item(1))
    doomed.kill()
    survivor.let_pass(100)
    assert first(ticket.wait()) == [1]
    stage.listen()
    wait_until(lambda: len(stage.hellos()) == 2, "the client has come back")
    assert stage.hellos()[1]["holds"] == [{"deployment": "echo", "version": 1, "lane": 0}]
    assert first(submit(client, item(2)).wait()) == [2]


def test_an_instance_that_came_and_died_unseen_is_known_dead_from_the_list(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    client = attach()
    ticket = submit(client, item(5))
    stage.vanish()
    unseen = stage.start_instance(version, gated=True)
    wait_until(lambda: version.steward.counts().leased, "the instance works")
    unseen.kill()
    stage.listen()
    wait_until(lambda: len(stage.hellos()) == 2, "the client has come back")
    stage.start_instance(version)
    assert first(ticket.wait()) == [5]


def test_a_lost_supervisor_is_asked_for_in_a_thread_of_its_own(stage: Stage) -> None:
    asked = threading.Event()
    stage.deploy()
    client = EngineClient.attach(
        runtime_dir=stage.runtime_dir, wait_s=PATIENCE_S, settings=settings_of(), ensure=asked.set
    )
    stage.vanish()
    assert asked.wait(PATIENCE_S)
    with pytest.raises(NotReady):
        client.request("status", timeout_s=1)
    client.close()


def test_requests_to_the_supervisor(stage: Stage, attach: Attach) -> None:
    client = attach()
    stage.answer = {"ok": True, "status": {"pid": 7}}
    assert client.request("status", timeout_s=PATIENCE_S)["status"] == {"pid": 7}
    stage.answer = {"ok": False, "error": "no room", "code": "OUT_OF_MEMORY"}
    with pytest.raises(Exception, match="no room") as caught:
        client.request("deploy", timeout_s=PATIENCE_S, deployment="x")
    assert caught.type.__name__ == "OutOfMemory"
