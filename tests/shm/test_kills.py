"""SIGKILL at every named place of an instance and of a frontend: what is left behind, and that nothing is lost."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest

from engine import crash_points
from engine.crash_points import VARIABLE
from engine.errors import ConfigError
from engine.shm.batch import BatchReply
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.records import LaneStatistics, Outcome
from tests.shm.rig import ROOT, Asker, Rig, item_of, one_by_one, take_all, wait_readable
from tests.stress import wire
from tests.stress.ledger import Ledger

LANE_OF_CHILD = 1


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A segment that fits the stand-ins of the stress test."""
    made = Rig(slots=4, payload_bytes=wire.PAYLOAD_BYTES, classes=wire.CLASSES)
    yield made
    made.close()


@contextmanager
def stand_in(role: str, crash_point: str, config: Mapping[str, object], fds: list[int]) -> Iterator[int]:
    """A producer or consumer of the stress test; yields its pidfd. Killed and reaped at the end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, subprocess.Popen(
        [sys.executable, "-m", f"tests.stress.{role}", str(theirs.fileno())],
        pass_fds=[theirs.fileno()], cwd=ROOT, env={**os.environ, VARIABLE: crash_point},
    ) as child:  # fmt: skip
        pidfd = os.pidfd_open(child.pid)
        wire.send(ours, config, fds)
        try:
            yield pidfd
        finally:
            child.kill()
            os.close(pidfd)


@contextmanager
def consumer(rig: Rig, crash_point: str = "") -> Iterator[tuple[int, int]]:
    """An instance in a process of its own: its name and pidfd."""
    name, ledger_fd = rig.steward.new_name(1, 1), Ledger.new_file()
    rig.steward.mark_go(name)
    bells = [bell.fileno() for bell in rig.reply_bells]
    config = {"name": name, "max_batch": 16, "slow_share": 0.0}
    with stand_in("consumer", crash_point, config, [rig.segment.fd, rig.doorbell.fileno(), ledger_fd, *bells]) as pidfd:
        yield name, pidfd
    os.close(ledger_fd)


@contextmanager
def producer(rig: Rig, crash_point: str, *, names: dict[int, int]) -> Iterator[int]:
    """A frontend in a process of its own, which knows these instances by name and pidfd: its pidfd."""
    rig.steward.assign(LANE_OF_CHILD, 1, 1)
    ledger_fd = Ledger.new_file()
    fds = [rig.segment.fd, rig.doorbell.fileno(), rig.reply_bells[LANE_OF_CHILD].fileno(), ledger_fd, *names.values()]
    with stand_in("producer", crash_point, {"lane": LANE_OF_CHILD, "seed": 1, "names": list(names)}, fds) as pidfd:
        yield pidfd
    os.close(ledger_fd)


def submit(lane: LaneOwner, number: int) -> Item | None:
    """A sealed request whose payload says what its answer must be; None if there is no slot."""
    sealed, _ = wire.seal(0, number, b"night" * (number % 300))
    item = item_of(np.frombuffer(sealed, np.int16), Asker(str(number)))
    return item if lane.offer(item) else None


def is_right(item: Item) -> bool:
    checksum = wire.checksum_if_whole(item.payload.view(np.uint8))
    assert item.error is None and checksum is not None, item.error
    return tuple(item.probabilities.tolist()) == wire.answer_to(checksum, item.payload.nbytes)


@pytest.mark.parametrize(
    ("point", "left", "isolated"),
    [
        ("take.lease", LaneStatistics(free=1, ready=3), 0),
        ("take.slot:2", LaneStatistics(free=1, ready=1, leased=2), 0),
        ("take.leased", LaneStatistics(free=1, leased=3), 0),
        ("start.marked", LaneStatistics(free=1, leased=3), 3),
        ("reply.written", LaneStatistics(free=1, leased=3), 3),
        ("reply.slot:2", LaneStatistics(free=1, leased=1, replied=2), 1),
        ("reply.slot:3", LaneStatistics(free=1, replied=3), 0),
        ("reply.rung", LaneStatistics(free=1, replied=3), 0),
    ],
)
def test_an_instance_dies_and_the_next_one_finishes(
    rig: Rig, point: str, left: LaneStatistics, isolated: int
) -> None:
    lane = rig.owner(0)
    for number in range(3):
        submit(lane, number)
    with consumer(rig, point) as (name, pidfd):
        wait_readable(pidfd)
        assert lane.statistics() == left
        assert rig.lease().try_acquire()  # the kernel has released it already
        rig.leases[-1].release()
        replies = lane.instance_died(name, alive=0)
    assert len(replies) == left.replied
    assert sum(rig.segment.tables.isolate[:4].tolist()) == isolated
    with consumer(rig):  # the doorbell has been rung for it
        while lane.outstanding:
            wait_readable(rig.reply_bells[0].fileno())
            replies += lane.harvest()
    assert len(replies) == 3 and all(map(is_right, replies))
    assert rig.steward.counts().free == 8


@pytest.mark.parametrize("point", ["submit.writing:3", "submit.ready:3", "abandon.lease", "harvest.copied:5"])
def test_a_frontend_dies_and_its_lane_comes_home(rig: Rig, point: str) -> None:
    taker = rig.taker()
    alive_fd = os.pidfd_open(os.getpid())
    with producer(rig, point, names={taker.name: alive_fd}) as pidfd:
        if point.startswith("harvest"):
            wait_readable(rig.doorbell.fileno())
            answer_until_dead(rig, pidfd)
        wait_readable(pidfd)
    assert rig.steward.sweep(LANE_OF_CHILD, lambda name: name == taker.name) == 0
    os.close(alive_fd)
    lane = rig.owner(LANE_OF_CHILD)
    assert lane.statistics() == LaneStatistics(free=4)


def answer_until_dead(rig: Rig, pidfd: int) -> None:
    """Takes and answers what the producer sends until it is gone. Not under a name that it knows."""
    taker = rig.taker()
    while True:
        for taken in one_by_one(taker.take(take_all)):
            cancelled = taken.column("cancel") == [1]
            taker.reply([BatchReply(taken, Outcome.EXPIRED if cancelled else Outcome.CRASHED, None)])
        try:
            wait_readable(pidfd, timeout_s=0.01)
        except AssertionError:
            continue
        return


def test_a_frontend_dies_while_it_inherits_from_a_dead_instance(rig: Rig) -> None:
    """Two deaths: what it had offered again and what it had not come home alike."""
    taker = rig.taker()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as instance:
        instance_fd = os.pidfd_open(instance.pid)
        with producer(rig, "death.slot:1", names={taker.name: instance_fd}) as pidfd:
            wait_readable(rig.doorbell.fileno())
            while not taker.take(lambda found: take_all(found) if len(found) == 4 else []):
                rig.doorbell.drain()
            instance.kill()
            wait_readable(pidfd)
        os.close(instance_fd)
    assert rig.steward.sweep(LANE_OF_CHILD, lambda name: name == taker.name) == 0
    assert rig.steward.counts().free == 8


def test_threads_of_one_frontend_share_a_lane(rig: Rig) -> None:
    """Two submit and abandon, one harvests, the instance is killed and replaced: each ticket ends exactly once."""
    lane, ended = rig.owner(0), Counter[int]()
    done, died = threading.Event(), threading.Event()
    abandoned: set[int] = set()
    sent: list[int] = []

    def send(first: int) -> None:
        for number in itertools.count(first, 2):
            if number >= 1200 and died.is_set():  # the other instance may be quicker for a long while
                return
            sent.append(number)
            while (item := submit(lane, number)) is None:
                time.sleep(0)
            if number % 3 == 0:
                lane.abandon(item)
                if item.ticket is None:
                    abandoned.add(number)

    def receive() -> None:
        while not (done.is_set() and lane.outstanding == 0):
            for item in lane.harvest():
                assert is_right(item)
                ended[item.generation << 8 | item.slot] += 1

    threads = [threading.Thread(target=send, args=(first,)) for first in (0, 1)]
    harvester = threading.Thread(target=receive)
    with consumer(rig, "reply.slot:100") as (name, pidfd), consumer(rig):
        for thread in (*threads, harvester):
            thread.start()
        try:
            wait_readable(pidfd)
        finally:
            died.set()
        for item in lane.instance_died(name, alive=1):
            assert is_right(item)
            ended[item.generation << 8 | item.slot] += 1
        for thread in threads:
            thread.join()
        done.set()
        harvester.join()
    assert set(ended.values()) == {1}
    assert len(ended) + len(abandoned) == len(sent)
    assert lane.statistics() == LaneStatistics(free=4)


@pytest.mark.parametrize("value", ["x:0", "x:-1", "x:two"])
def test_a_malformed_crash_point_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="want a point's name"):
        crash_points.arm(value)
    crash_points.reach("x")
