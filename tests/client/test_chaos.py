"""Instances killed at random under load with cancels and deadlines: every request ends in a way that is allowed.

Allowed: its own answer; DeadlineExceeded for those with a short deadline; ClientGone for those cancelled; ModelCrashed
for what two deaths found started. Forbidden: another's answer, silence, a slot that does not come home.
"""

from __future__ import annotations

import asyncio
import functools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.client import EngineClient, Ticket
from engine.clock import Deadline
from engine.errors import ClientGone, DeadlineExceeded, EngineError, ModelCrashed
from tests.client.stage import PATIENCE_S, Stage, Version, wait_until
from tests.client.test_submit import first, item

KILLS = 8
CALLERS = 6

ALLOWED: dict[str, Any] = {"wait": ModelCrashed, "hurry": (DeadlineExceeded, ModelCrashed), "cancel": ClientGone}


class Caller:
    """Submits until told to stop, and judges every end."""

    def __init__(self, client: EngineClient, index: int, seed: int, stop: threading.Event) -> None:
        self._client = client
        self._random = random.Random(seed + index)
        self._stop = stop
        self._number = 1e6 * (index + 1)  # float32 tells whole numbers apart up to 16 million
        self.ends: Counter[str] = Counter()

    def submissions(self) -> Iterator[tuple[Ticket, list[float], str]]:
        """Tickets, what they must answer, and how they are treated."""
        while not self._stop.is_set():
            treatment = self._random.choice(["wait", "wait", "wait", "hurry", "cancel"])
            numbers = [self._number + k for k in range(self._random.choice([1, 1, 3, 12]))]
            self._number += len(numbers)
            within_s = 0.01 if treatment == "hurry" else PATIENCE_S
            ticket = self._client.submit(
                "echo",
                [item(number) for number in numbers],
                request_id=str(numbers[0]),
                deadline=Deadline.after_s(within_s),
                level=self._random.choice((-1, 0, 1)),
            )
            if treatment == "cancel":
                ticket.cancel()
            yield ticket, numbers, treatment

    def judge(self, ticket: Ticket, numbers: list[float], treatment: str) -> None:
        try:
            assert first(ticket.wait()) == numbers
            self.ends["answered"] += 1
        except EngineError as error:
            assert isinstance(error, ALLOWED[treatment]), (treatment, error)
            self.ends[type(error).__name__] += 1

    def run(self) -> None:
        for ticket, numbers, treatment in self.submissions():
            try:
                ticket.wait()
            except EngineError:
                pass
            self.judge(ticket, numbers, treatment)

    async def run_async(self) -> None:
        for ticket, numbers, treatment in self.submissions():
            try:
                await ticket
            except EngineError:
                pass
            self.judge(ticket, numbers, treatment)
            await asyncio.sleep(0)


def run_threads(client: EngineClient, callers: list[Caller]) -> None:
    failures: list[BaseException] = []

    def run(caller: Caller) -> None:
        try:
            caller.run()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def run_loop(client: EngineClient, callers: list[Caller]) -> None:
    async def program() -> None:
        client.use_event_loop(asyncio.get_running_loop())
        await asyncio.gather(*(caller.run_async() for caller in callers))
        client.use_event_loop(None)

    asyncio.run(program())


@pytest.mark.parametrize("run", [run_threads, run_loop])
def test_kills_under_load(
    stage: Stage, attach: Callable[..., EngineClient], run: Callable[[EngineClient, list[Caller]], None]
) -> None:
    seed = random.randrange(1 << 16)
    print(f"seed {seed}")
    version = stage.deploy(slots=8)
    client = attach()
    stop = threading.Event()
    callers = [Caller(client, k, seed, stop) for k in range(CALLERS)]
    killer = threading.Thread(target=_kill_and_replace, args=(stage, version, callers, random.Random(seed), stop))
    killer.start()
    try:
        run(client, callers)
    finally:
        stop.set()
        killer.join()
    ends = sum((caller.ends for caller in callers), Counter[str]())
    print(dict(ends))
    assert ends["answered"] > 10 * KILLS and ends["ClientGone"]
    wait_until(lambda: version.steward.counts().free == version.steward.counts().total, "every slot is home")


def _reached(callers: list[Caller], mark: int, stop: threading.Event) -> bool:
    return stop.is_set() or sum(caller.ends["answered"] for caller in callers) >= mark


def _kill_and_replace(
    stage: Stage, version: Version, callers: list[Caller], chance: random.Random, stop: threading.Event
) -> None:
    """Keeps two instances at work; each is killed after some answers, so that work is under way."""
    try:
        instances = [stage.start_instance(version, max_batch=3) for _ in range(2)]
        for _ in range(KILLS):
            mark = sum(caller.ends["answered"] for caller in callers) + chance.randrange(10, 60)
            wait_until(functools.partial(_reached, callers, mark, stop), "answers go on")
            instances.pop(chance.randrange(2)).kill()
            instances.append(stage.start_instance(version, max_batch=3))
    finally:
        stop.set()
