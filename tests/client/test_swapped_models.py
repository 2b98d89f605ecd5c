"""A request knows whose answers it has: which model, or that a swap came between and there were two."""

from __future__ import annotations

from collections.abc import Callable

from engine.client import EngineClient
from tests.client.hand import Hand
from tests.client.stage import Stage, wait_until
from tests.client.test_submit import first, item, submit

Attach = Callable[..., EngineClient]


def test_a_request_knows_the_model_that_answers(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    client = attach()
    ticket = submit(client, item(1), item(2))
    with Hand(version) as hand:
        hand.serve(2)
        ticket.wait()
    assert ticket.model is not None and ticket.model.model_version == "v1" and not ticket.is_of_two_models


def test_what_the_old_version_refuses_is_the_new_one_s_alone(stage: Stage, attach: Attach) -> None:
    old = stage.deploy()
    doomed = stage.start_instance(old, gated=True, max_batch=1)
    client = attach()
    first_ticket = submit(client, item(1))
    wait_until(lambda: old.steward.counts().leased, "the instance works")
    ticket = submit(client, item(2))
    assert client.description("echo").model_version == "v1"
    new = stage.deploy(number=2)
    stage.close_version(old)
    doomed.kill()
    stage.start_instance(new)
    assert first([*first_ticket.wait(), *ticket.wait()]) == [1, 2]
    for each in (first_ticket, ticket):
        assert each.model is not None and each.model.model_version == "v2" and not each.is_of_two_models


def test_a_swap_in_the_middle_of_a_request_is_known(stage: Stage, attach: Attach) -> None:
    old = stage.deploy(slots=4)
    leaving = stage.start_instance(old, gated=True)
    client = attach()
    ticket = submit(client, *(item(float(k)) for k in range(5)))  # three have a slot, two wait for one
    wait_until(lambda: old.steward.counts().leased == 3, "the instance works")
    new = stage.deploy(number=2, slots=4)
    stage.start_instance(new)
    stage.close_version(old)
    wait_until(lambda: client.description("echo").model_version == "v2", "the new version takes over")
    leaving.let_pass()
    assert first(ticket.wait()) == [0, 1, 2, 3, 4]
    assert ticket.model is not None and ticket.model.model_version == "v2" and ticket.is_of_two_models
