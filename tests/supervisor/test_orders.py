"""Orders are carried out once each, one after the other, whatever comes in between."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.supervisor.ledger import Ledger, State
from engine.supervisor.loop import Loop
from engine.supervisor.orders import Order, Orders
from engine.supervisor.recorder import Recorder
from engine.supervisor.slow_work import SlowWork
from tests.supervisor.test_slow_work import run_until


class Office:
    """Takes orders, and writes down which were begun, carried out, refused and finished."""

    def __init__(self, loop: Loop, slow_work: SlowWork, folder: Path) -> None:
        self.recorder = Recorder(loop, Ledger(folder), slow_work, State)
        self.recorder.is_on = True
        self.orders = Orders(loop, self.recorder, slow_work)
        self.done: list[int] = []
        self.refused: list[int] = []
        self.finished: list[int] = []

    def give(self, number: int, *, fails: bool = False, prepares: bool = False) -> None:
        """An order that says in `done` that it was carried out."""

        def act() -> None:
            self.recorder.commit()
            if fails:
                raise ZeroDivisionError
            self.done.append(number)

        self.orders.give(
            Order(
                act,
                lambda _: self.refused.append(number),
                prepare=int if prepares else None,
                finish=lambda _: self.finished.append(number),
            )
        )


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def office(loop: Loop, tmp_path: Path) -> Iterator[Office]:
    slow_work = SlowWork(loop)
    yield Office(loop, slow_work, tmp_path)
    slow_work.close()


def test_an_order_that_comes_when_the_one_before_has_just_ended_is_carried_out_once(loop: Loop, office: Office) -> None:
    """The end of one begins the next, and so does whoever gives it."""
    office.orders.give(Order(lambda: 1 / 0, lambda _: loop.attempt(functools.partial(office.give, 2))))
    run_until(loop, lambda: office.finished)
    run_until(loop, lambda: not office.orders.waiting)
    assert office.done == office.finished == [2]


@pytest.mark.parametrize("seed", range(20))
def test_each_is_carried_out_or_refused_once_and_in_turn(loop: Loop, office: Office, seed: int) -> None:
    dice = random.Random(seed)
    fails = [dice.random() < 0.3 for _ in range(40)]
    for number, failing in enumerate(fails):
        give = functools.partial(office.give, number, fails=failing, prepares=dice.random() < 0.3)
        loop.call_after(0.0005 * number, give)
    run_until(loop, lambda: len(office.finished) >= len(fails) and not office.orders.waiting)
    assert office.done == [number for number, failing in enumerate(fails) if not failing]
    assert office.refused == [number for number, failing in enumerate(fails) if failing]
    assert office.finished == list(range(len(fails)))


def test_an_order_that_was_given_up_leaves_no_trouble_once_the_disk_answers(loop: Loop, office: Office) -> None:
    reader, writer = os.pipe()
    refused: list[Exception] = []
    order = Order(int, refused.append, prepare=functools.partial(os.read, reader, 1))
    office.orders.give(order)
    office.orders._give_up(order)  # as after some seconds
    assert len(refused) == 1
    assert loop.guard.health.degraded
    os.write(writer, b"-")
    run_until(loop, lambda: not office.orders.waiting and not loop.guard.health.degraded)
    os.close(reader)
    os.close(writer)
