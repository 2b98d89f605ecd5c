"""A segment with everything on it, in one process: as many owners and takers as a test wants, each with a lease."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.clock import NS_PER_S, now_ns
from engine.crash_points import VARIABLE
from engine.shm.batch import Batch, BatchReply
from engine.shm.bell import Bell
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.layout import Geometry
from engine.shm.lease import Lease
from engine.shm.ready import ReadySlots
from engine.shm.records import Outcome
from engine.shm.segment import Segment
from engine.shm.steward import Steward
from engine.shm.taker import Taker

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 3


def take_all(ready: ReadySlots) -> list[int]:
    """Everything that is READY, by slot."""
    found: list[int] = ready.slots.tolist()
    return found


def take_first(ready: ReadySlots) -> list[int]:
    """One slot."""
    return take_all(ready)[:1]


@dataclass(eq=False)
class Asker:
    """A request as a slot's header has it."""

    request_id: str = "request"
    caller_hash: int = 7
    level: int = 0
    arrival_ns: int = field(default_factory=now_ns)
    turn_ns: int = field(default_factory=now_ns)
    deadline_ns: int = field(default_factory=lambda: now_ns() + 60 * NS_PER_S)


def item_of(payload: NDArray[Any], asker: Asker, *, gain: float = 1.0) -> Item:
    """An item that `asker` waits for."""
    item = Item(payload, gain)
    item.ticket = asker
    return item


def request(value: int = 1, *, words: int = 8, **header: int) -> Item:
    """An item whose payload is `value`, `words` times; `header`: fields of its `Asker`."""
    asker = Asker(f"request-{value}", **header)
    return item_of(np.full(words, value, dtype=np.int16), asker, gain=0.5)


def offered(lane: LaneOwner, item: Item) -> Item | None:
    """`item`, offered; None if there is no slot for it."""
    return item if lane.offer(item) else None


def answers(batch: Batch) -> NDArray[np.float32]:
    """What the rig's instances answer: first sample, size and gain of each."""
    rows = [(samples[0], samples.size, gain) for samples, gain in zip(batch.payloads().samples, batch.column("gain"))]
    return np.array(rows, dtype=np.float32).reshape(len(batch), CLASSES)


def reply_to(taker: Taker, batch: Batch) -> None:
    """Answers all of it."""
    taker.reply([BatchReply(batch, Outcome.OK, answers(batch), batch_size=len(batch))])


def one_by_one(batch: Batch) -> list[Batch]:
    """Its items, each a batch of its own."""
    return [batch.part([position]) for position in range(len(batch))]


def values(home: list[Item]) -> list[int]:
    """The first samples that came back, in the order of the items. All must be OK."""
    found = []
    for item in home:
        assert item.outcome is Outcome.OK and item.error is None, item.error
        found.append(int(item.probabilities[0]))
    return found


class Rig:
    """One segment."""

    def __init__(self, *, slots: int = 4, payload_bytes: int = 64, classes: int = CLASSES, lanes: int = 2) -> None:
        self.segment = Segment.create(Geometry(lanes, slots, payload_bytes, 4 * classes, instance_rows=8))
        self.steward = Steward(self.segment)
        self.doorbell = Bell.create()
        self.reply_bells = [Bell.create() for _ in range(lanes)]
        self.leases: list[Lease] = []
        self.successors: list[Steward] = []
        self.owners: list[LaneOwner] = []

    def lease(self) -> Lease:
        """A handle of its own, as another process would have."""
        self.leases.append(Lease(self.segment.fd))
        return self.leases[-1]

    def owner(self, lane: int = 0, *, pid: int = 1000) -> LaneOwner:
        """A frontend that the lane is handed to."""
        self.steward.assign(lane, pid + lane, 1)
        self.owners.append(LaneOwner(self.segment, lane, self.lease(), self.doorbell, self.reply_bells[lane]))
        return self.owners[-1]

    def taker(self, *, pid: int = 2000) -> Taker:
        """An instance with a new name, allowed to take."""
        name = self.steward.new_name(pid, 1)
        self.steward.mark_go(name)
        return Taker(self.segment, name, self.lease(), self.doorbell, self.reply_bells)

    def successor(self) -> Steward:
        """Another steward, as a supervisor has after its predecessor's death."""
        self.successors.append(Steward(self.segment))
        return self.successors[-1]

    def close(self) -> None:
        for owner in self.owners:
            owner.close()
        for steward in (*self.successors, self.steward):
            steward.close()
        for lease in self.leases:
            lease.close()
        for bell in (self.doorbell, *self.reply_bells):
            bell.close()
        self.segment.close()


@contextmanager
def python_child(code: str, fds: list[int], *, crash_point: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A fresh interpreter that runs `code` with the numbers of `fds` as arguments; killed and reaped at the end."""
    environment = {**os.environ, VARIABLE: crash_point}
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, fds)],
        pass_fds=fds, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            yield child
        finally:
            child.kill()


def says(child: subprocess.Popen[bytes]) -> str:
    """The next line that the child prints."""
    assert child.stdout is not None
    return child.stdout.readline().decode().strip()


def wait_readable(fd: int, timeout_s: float = 30.0) -> None:
    """Waits until `fd` is readable: a bell that rang, or the pidfd of a process that died."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    assert poller.poll(timeout_s * 1000), f"nothing on descriptor {fd} for {timeout_s} s"
