"""A segment with one lane, its owner and one taker, all in this process: no supervisor needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from engine.clock import NS_PER_S, now_ns
from engine.instance.device import Device
from engine.instance.loading import load
from engine.instance.runner import ModelRunner
from engine.messages import process_start_ticks
from engine.shm.batch import Batch
from engine.shm.bell import Bell
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.layout import Geometry
from engine.shm.lease import Lease
from engine.shm.segment import Segment
from engine.shm.steward import Steward
from engine.shm.taker import Taker
from engine.spec import ModelSource, ModelSpec
from engine.testing.models import CLASSES, Loudness
from tests.shm.rig import Asker, item_of, take_all

FRAMES = Loudness.input_shape[0]
MAX_BATCH = 4


def make_runner(factory: str, place: Device | None = None) -> ModelRunner:
    spec = ModelSpec(source=ModelSource.FACTORY, location=f"engine.testing.models:{factory}")
    return ModelRunner(load(spec.to_json(), []), device="cpu", max_batch=MAX_BATCH, place=place)


@dataclass
class Bench:
    """Both ends of one lane."""

    segment: Segment
    owner: LaneOwner
    taker: Taker
    doorbell: Bell

    def submit(self, samples: np.ndarray, *, gain: float = 1.0, deadline_s: float = 60.0) -> None:
        asker = Asker("r", deadline_ns=now_ns() + int(deadline_s * NS_PER_S))
        assert self.owner.offer(item_of(samples, asker, gain=gain))

    def take_all(self) -> Batch:
        return self.taker.take(take_all)

    def replies(self) -> list[Item]:
        """In the order of submission."""
        found = self.owner.harvest()
        return sorted(found, key=lambda item: item.slot)


@pytest.fixture
def bench() -> Iterator[Bench]:
    segment = Segment.create(Geometry(lanes=1, slots=8, payload_bytes=4 * FRAMES, reply_bytes=4 * CLASSES))
    lease, steward, doorbell, reply_bell = Lease(segment.fd), Steward(segment), Bell.create(), Bell.create()
    steward.assign(0, os.getpid(), process_start_ticks(os.getpid()))
    name = steward.new_name(os.getpid(), process_start_ticks(os.getpid()))
    kept = Bench(
        segment,
        LaneOwner(segment, 0, lease, doorbell, reply_bell),
        Taker(segment, name, lease, doorbell, [reply_bell]),
        doorbell,
    )
    yield kept
    kept.owner.close()
    del kept.owner, kept.taker  # their arrays keep the mapping, and pytest keeps `kept` a while longer
    for held in (doorbell, reply_bell, lease, steward, segment):
        held.close()
