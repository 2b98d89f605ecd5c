"""A thread that does one step again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from engine.stores.ticker import Ticker
from tests.support.wait import wait_for


class Steps:
    """Counts its calls, and says when it wants the next."""

    def __init__(self) -> None:
        self.count = 0
        self.pause_s: float | None = None
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self) -> float | None:
        self.count += 1
        assert self.may_end.wait(10)
        return self.pause_s


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def ticker(steps: Steps) -> Iterator[Ticker]:
    made = Ticker(steps, name="test-ticker")
    yield made
    made.close(10)


def test_it_steps_when_it_is_woken(steps: Steps, ticker: Ticker) -> None:
    for count in (1, 2, 3):
        ticker.wake()
        wait_for(lambda: steps.count == count, "one step")


def test_it_steps_again_when_it_said_so(steps: Steps, ticker: Ticker) -> None:
    steps.pause_s = 0.001
    ticker.wake()
    wait_for(lambda: steps.count > 5, "several steps")


def test_a_wake_during_a_step_is_not_lost(steps: Steps, ticker: Ticker) -> None:
    steps.may_end.clear()
    ticker.wake()
    wait_for(lambda: steps.count == 1, "the first step")
    ticker.wake()
    steps.may_end.set()
    wait_for(lambda: steps.count == 2, "one for what has come meanwhile")


def test_nothing_happens_after_close(steps: Steps, ticker: Ticker) -> None:
    ticker.wake()
    wait_for(lambda: steps.count == 1, "the first step")
    ticker.close(10)
    ticker.wake()
    assert steps.count == 1 and "test-ticker" not in [thread.name for thread in threading.enumerate()]
