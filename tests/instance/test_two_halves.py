"""Two batches in flight, on a device that does everything as late as it may: what is stored when, and who gets what."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from engine.clock import NS_PER_S, now_ns
from engine.errors import InternalError
from engine.instance.faults import Poisoned
from engine.instance.processor import BatchProcessor
from engine.instance.warmup import warm_up
from engine.shm.batch import Batch, Payloads
from engine.shm.item import Item
from engine.shm.ready import ReadySlots
from engine.shm.records import Outcome
from engine.testing.devices import LateDevice
from engine.testing.models import FAIL, POISON
from tests.instance.conftest import FRAMES, MAX_BATCH, Bench, make_runner
from tests.instance.test_processor import expected, sound
from tests.shm.rig import Asker, item_of


class Sent(NamedTuple):
    """What an item must be answered for."""

    seed: int
    bad: bool
    expired: bool


def late(bench: Bench, factory: str = "loudness") -> tuple[BatchProcessor, LateDevice]:
    """A processor that is warm, on such a device; what it has done to warm up is off the log."""
    device = LateDevice((FRAMES,), MAX_BATCH)
    runner = make_runner(factory, device)
    worker = BatchProcessor(bench.taker, runner, warm_up(runner))
    device.log.clear()
    device.batches = 0
    return worker, device


def take(bench: Bench, most: int = 2) -> Batch:
    def oldest(ready: ReadySlots) -> list[int]:
        found: list[int] = ready.slots.tolist()
        return found[:most]

    return bench.taker.take(oldest)


def begin(bench: Bench, worker: BatchProcessor, *sounds: np.ndarray) -> Batch:
    """Submits these, takes them and begins them as one batch."""
    for samples in sounds:
        bench.submit(samples)
    batch = take(bench, len(sounds))
    worker.begin(batch)
    return batch


def test_the_second_batch_is_staged_while_the_first_computes_and_starts_once_that_is_answered(bench: Bench) -> None:
    worker, device = late(bench)
    first = begin(bench, worker, sound(0), sound(1))
    full = [(len(worker.in_flight) == worker.most_in_flight)]
    second = begin(bench, worker, sound(2), sound(3))
    assert [*full, (len(worker.in_flight) == worker.most_in_flight)] == [False, True]
    assert device.log == ["stage 0", "launch 0", "stage 1"]
    name = bench.taker.name
    assert first.column("started") == [name, name] and second.column("started") == [0, 0]
    assert bench.replies() == []
    assert worker.finish()[:2] == (2, 0)
    assert device.log[3:] == ["copy 0", "compute 0", "discard 0", "launch 1"]
    assert second.column("started") == [name, name]
    assert [reply.outcome for reply in bench.replies()] == [Outcome.OK] * 2
    assert worker.finish()[:2] == (2, 0)
    assert not worker.in_flight and device.idle and len(bench.replies()) == 2


def test_no_third_batch_has_room(bench: Bench) -> None:
    worker, device = late(bench)
    begin(bench, worker, sound(0))
    begin(bench, worker, sound(1))
    with pytest.raises(InternalError, match="no buffer"):
        device.stage(Payloads([sound(2)], np.ones(1, dtype=np.float32)))
    worker.finish()
    worker.finish()


def test_who_leaves_while_the_batch_is_staged_is_not_computed(bench: Bench) -> None:
    """Nor does the next request in that slot get into the batch: its payload is not read any more by then."""
    worker, device = late(bench)
    begin(bench, worker, sound(0))
    staged = begin(bench, worker, sound(1), sound(2), sound(3))
    left = list(bench.owner._outstanding.values())[2]
    bench.owner.abandon(left)
    worker.finish()
    assert device.log[-2:] == ["copy 1", "launch 1"]  # the copies are waited for before the slot is given back
    assert staged.column("started") == [bench.taker.name, 0, bench.taker.name]
    assert [reply.outcome for reply in bench.replies()] == [Outcome.OK]
    for seed in range(4, 10):
        bench.submit(sound(seed))  # into every slot that is free, that of the cancelled one too
    assert worker.finish().computed == 2
    for seed, reply in zip((1, 3), bench.replies(), strict=True):
        assert reply.batch_size == 2
        np.testing.assert_allclose(reply.probabilities, expected(sound(seed)), atol=1e-5)


def test_a_batch_that_nobody_waits_for_any_more_is_not_launched(bench: Bench) -> None:
    worker, device = late(bench)
    begin(bench, worker, sound(0))
    begin(bench, worker, sound(1))
    bench.owner.abandon(list(bench.owner._outstanding.values())[1])
    worker.finish()
    assert worker.finish().computed == 0
    assert "launch 1" not in device.log and device.idle
    bench.replies()
    assert bench.owner.statistics().free == 8


def test_an_error_of_the_first_is_bisected_while_the_second_waits_on_the_device(bench: Bench) -> None:
    worker, device = late(bench, "troubled")
    begin(bench, worker, sound(0), sound(1, first=FAIL))
    second = begin(bench, worker, sound(2), sound(3))
    counts = worker.finish()
    assert (counts.computed, counts.failed) == (2, 1)
    assert [reply.outcome for reply in bench.replies()] == [Outcome.OK, Outcome.MODEL_FAILED]
    assert second.column("started") == [bench.taker.name] * 2
    worker.finish()
    for seed, reply in zip((2, 3), bench.replies(), strict=True):
        np.testing.assert_allclose(reply.probabilities, expected(sound(seed)), atol=1e-5)
    assert device.idle


def test_what_was_only_staged_is_innocent_of_the_end_of_its_instance(bench: Bench) -> None:
    worker, _ = late(bench, "troubled")
    begin(bench, worker, sound(0, first=POISON))
    begin(bench, worker, sound(1))
    with pytest.raises(Poisoned):
        worker.finish()
    assert bench.owner.instance_died(bench.taker.name, alive=1) == []
    assert bench.segment.tables.attempt[:2].tolist() == [1, 0]
    assert bench.segment.tables.isolate[:2].tolist() == [1, 0]


@pytest.mark.parametrize("factory", ["loudness", "troubled"])
def test_whatever_comes_and_goes_every_answer_is_its_own(bench: Bench, factory: str) -> None:
    """Slots are filled anew the moment they are free, while copies and computations are still to be done."""
    seed = random.randrange(2**32)
    print("seed", seed)
    random_ = random.Random(seed)
    worker, device = late(bench, factory)
    waiting: dict[Item, Sent] = {}
    seeds = itertools.count()
    answered = 0

    def submit() -> None:
        sent = Sent(next(seeds), factory == "troubled" and random_.random() < 0.1, random_.random() < 0.05)
        asker = Asker(deadline_ns=now_ns() + (-1 if sent.expired else 60) * NS_PER_S)
        item = item_of(sound(sent.seed, first=FAIL if sent.bad else None), asker)
        if bench.owner.offer(item):
            waiting[item] = sent

    def abandon() -> None:
        if waiting and random_.random() < 0.2:
            item = random_.choice(list(waiting))
            del waiting[item]
            bench.owner.abandon(item)

    def harvest() -> None:
        nonlocal answered
        for item in bench.owner.harvest():
            check(item, waiting.pop(item))
            answered += 1

    def begin_or_finish() -> None:
        batch = None if (len(worker.in_flight) == worker.most_in_flight) else take(bench, random_.randint(1, MAX_BATCH))
        if batch:
            worker.begin(batch)
        elif worker.in_flight:
            worker.finish()

    steps: list[Callable[[], None]] = [submit, submit, submit, abandon, harvest, begin_or_finish]
    while answered < 150:
        random_.choice(steps)()
    while waiting or worker.in_flight:
        begin_or_finish()
        harvest()
    assert device.idle and bench.owner.statistics().free == 8


def check(item: Item, sent: Sent) -> None:
    if sent.expired:
        assert item.outcome is Outcome.EXPIRED and item.batch_size == 0
    elif sent.bad:
        assert item.outcome is Outcome.MODEL_FAILED
    else:
        assert item.outcome is Outcome.OK, item.error
        np.testing.assert_allclose(item.probabilities, expected(sound(sent.seed)), atol=1e-5)
