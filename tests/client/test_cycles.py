"""Nothing of a finished request is left to the garbage collector: with it switched off, all of it is freed at once."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.client import EngineClient, Ticket
from engine.clock import Deadline
from engine.errors import ClientGone, DeadlineExceeded, EngineError, ModelFailed, QueueFull
from tests.client.stage import PATIENCE_S, Stage, wait_until
from tests.client.stage_instance import BROKEN
from tests.client.test_submit import item

Attach = Callable[..., EngineClient]

REQUESTS = 10_000
AT_ONCE = 50
OURS = {
    "Ticket", "Item", "_Waker", "Future",
    "ClientGone", "DeadlineExceeded", "ModelFailed", "QueueFull", "traceback", "frame",
}  # fmt: skip


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def census() -> Counter[str]:
    found = Counter(type(each).__name__ for each in gc.get_objects())
    return Counter({name: found[name] for name in OURS})


class Load:
    """Requests with every kind of end, and which ends there were."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._numbers = itertools.count()
        self.ends: Counter[str] = Counter()

    def submitted(self) -> Iterator[Ticket]:
        for _ in range(AT_ONCE):
            k = next(self._numbers)
            try:
                items = [item(BROKEN if k % 10 == 1 else float(k)) for _ in range(1 + k % 2)]
                deadline = Deadline.after_s(-1 if k % 10 == 2 else PATIENCE_S)
                ticket = self._client.submit("echo", items, request_id="r", deadline=deadline)
            except EngineError as error:
                self.ends[type(error).__name__] += 1
                continue
            if k % 10 == 3:
                ticket.cancel()
            elif k % 10 == 4:
                ticket.expire()
            yield ticket

    def ended(self, ticket: Ticket) -> None:
        try:
            ticket.wait()
            self.ends["answered"] += 1
        except EngineError as error:
            self.ends[type(error).__name__] += 1

    def in_threads(self) -> None:
        for ticket in list(self.submitted()):
            try:
                ticket.wait()
            except EngineError:
                pass
            self.ended(ticket)

    async def in_loop(self) -> None:
        for ticket in list(self.submitted()):
            try:
                await ticket
            except EngineError:
                pass
            self.ended(ticket)


def threads(client: EngineClient, load: Load, rounds: int) -> None:
    for _ in range(rounds):
        load.in_threads()


def loop(client: EngineClient, load: Load, rounds: int) -> None:
    async def program() -> None:
        client.use_event_loop(asyncio.get_running_loop())
        for _ in range(rounds):
            await load.in_loop()
        client.use_event_loop(None)

    asyncio.run(program())


@pytest.mark.parametrize("drive", [threads, loop])
@pytest.mark.usefixtures("collector_off")
def test_ten_thousand_requests_leave_nothing(
    stage: Stage, attach: Attach, drive: Callable[[EngineClient, Load, int], None]
) -> None:
    version = stage.deploy(slots=16)
    stage.start_instance(version, max_batch=16)
    client = attach(request_queue_size=AT_ONCE - 15)
    load = Load(client)
    drive(client, load, 2)
    before = census()
    drive(client, load, REQUESTS // AT_ONCE)
    wait_until(lambda: version.steward.counts().free == version.steward.counts().total, "every slot is home")
    assert census() - before == Counter()
    kinds = {kind.__name__ for kind in (ClientGone, DeadlineExceeded, ModelFailed, QueueFull)}
    assert all(load.ends[end] for end in {"answered", *kinds}), load.ends


@pytest.mark.usefixtures("collector_off")
def test_a_version_that_was_left_is_unmapped_at_once(stage: Stage, attach: Attach) -> None:
    client = attach()
    held = []
    for number in range(1, 5):
        version = stage.deploy(number=number)
        wait_until(lambda number=number: _active(client) == number, "the version is known")  # type: ignore[misc]
        tickets = [client.submit("echo", [item(1)], request_id="r", deadline=Deadline.after_s(60)) for _ in range(3)]
        tickets[0].cancel()
        tickets[1].expire()
        held += tickets
        stage.close_version(version)
        wait_until(lambda version=version: stage.is_idle(version), "the version is left")  # type: ignore[misc]
        assert _mapped() == len(stage.versions)  # the stage's own
    for ticket in held:
        ticket.cancel()


def _active(client: EngineClient) -> int:
    attachment = client.attachment("echo")
    return attachment.version if attachment is not None and client.ready("echo") else 0


def _mapped() -> int:
    return sum("nightscan-segment" in line for line in Path("/proc/self/maps").read_text().splitlines())
