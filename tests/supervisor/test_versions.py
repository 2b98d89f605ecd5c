"""Versions by themselves: a real segment, real child processes, and a deployment's part played by a recorder."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.clock import Deadline
from engine.config import load_settings
from engine.control.process_holds import ProcessHolds
from engine.core.leaving import LeavePolicy
from engine.core.lifecycle import VersionState
from engine.launch.identity import Identity, send_signal, wait_dead
from engine.shm.bell import Bell
from engine.shm.layout import Geometry
from engine.shm.segment import Segment
from engine.shm.steward import Steward
from engine.shm.words import FREE, WRITING, pack
from engine.spec import ModelDescription
from engine.supervisor.children import Child, reap, spawn
from engine.supervisor.closing_version import ClosingVersion
from engine.supervisor.context import Context
from engine.supervisor.frontend import Frontend, Frontends
from engine.supervisor.lane_queue import LaneQueue
from engine.supervisor.ledger import record_json
from engine.supervisor.loop import Loop
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.plan import Plan
from engine.supervisor.plane import Plane, PlaneHooks
from engine.supervisor.serving_version import ServingVersion
from engine.supervisor.totals import Totals
from engine.supervisor.version import Version

PAUSE = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
DESCRIPTION = ModelDescription(
    model_version="v",
    input_shape=(8,),
    classes=2,
    labels=("a", "b"),
    sample_rate_hz=8,
    segment_s=1.0,
    peak_normalise=True,
    device="cpu",
)


class Stage:
    """A loop and all that a version asks its supervisor for; keeps what the version tells."""

    def __init__(self, runtime_dir: Path) -> None:
        options = SupervisorOptions.from_settings(load_settings({}), runtime_dir)
        leaving = LeavePolicy(idle_ns=20_000_000, margin_ns=0)
        self.options = dataclasses.replace(options, lanes=2, slots=2, leaving=leaving)
        self.loop = Loop()
        self.frontends = Frontends(self.loop, lambda frontend: None)
        self.plan = Plan(deployment="d", number=1, spec={}, options=options.pool)
        self.holds = ProcessHolds()
        self.back = True
        self.gone: list[Version] = []
        self.children: list[Child] = []
        self.context = Context(
            loop=self.loop,
            options=self.options,
            frontends=self.frontends,
            keys={},
            record_json=record_json,
            persist=lambda: None,
            when_written=lambda act: act(),
            commit=lambda: None,
            keep_factory=lambda plan: None,
            open_factory=lambda path: os.open(path, os.O_RDONLY),
            forget_factory=lambda path: None,
            drop_if_unused=self.frontends.drop,
            everybody_back=lambda: self.back,
            news=lambda: None,
            rebalance=lambda: None,
            process_holds=self.holds,
            totals=Totals(self.loop, self.holds),
        )

    def version_opened(self, version: ServingVersion) -> None:
        raise AssertionError("nobody loads here")

    def version_serves(self, version: ServingVersion) -> None:
        raise AssertionError("nobody becomes ready here")

    def version_failed(self, version: ServingVersion, reason: str) -> None:
        raise AssertionError(reason)

    def version_outdated(self, version: ServingVersion, reason: str) -> None:
        raise AssertionError(reason)

    def version_changed(self, version: Version) -> None:
        pass

    def version_empties(self, version: ClosingVersion) -> None:
        assert version.plane is not None

    def version_gone(self, version: ClosingVersion) -> None:
        assert version.plane is None
        self.gone.append(version)

    def frontend(self) -> Frontend:
        """One that lives, and is not connected."""
        own = Identity.of(os.getpid())
        return self.frontends.add(Frontend(identity=own, pidfd=os.pidfd_open(own.pid), peer=None))

    def serving(self, *, instances: int) -> ServingVersion:
        """A version as a predecessor left it, with so many instances."""
        geometry = Geometry(lanes=2, slots=2, payload_bytes=DESCRIPTION.payload_bytes, reply_bytes=8)
        segment = Segment.create(geometry)
        steward = Steward(segment)
        for seat in range(instances):
            child = spawn(PAUSE)
            self.children.append(child)
            name = steward.new_name(child.identity.pid, child.identity.start_ticks, seat=seat, device="cpu")
            steward.mark_go(name)
        steward.close()
        version = ServingVersion(self.context, self.plan, self)
        version.adopt(segment, Bell.create(), DESCRIPTION)
        version.offer_bells([os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)])
        return version

    def run_until(self, happened: Callable[[], bool]) -> None:
        end = Deadline.after_s(20.0)
        while not happened():
            assert not end.expired
            self.loop.run_once(0.1)

    def close(self) -> None:
        for child in self.children:
            send_signal(child.pidfd, signal.SIGKILL)
            wait_dead(child.pidfd, timeout_s=20.0)
            reap(child.pidfd)
            os.close(child.pidfd)
        for frontend in self.frontends.all():
            self.frontends.drop(frontend)
        self.holds.close()
        self.loop.close()


@pytest.fixture
def stage(runtime_dir: Path) -> Iterator[Stage]:
    made = Stage(runtime_dir)
    yield made
    made.close()


def kill(stage: Stage) -> None:
    for child in stage.children:
        send_signal(child.pidfd, signal.SIGKILL)


def fill(version: Version, state: int) -> None:
    """The first slot of the first lane."""
    assert version.plane is not None
    version.plane.segment.tables.word[0] = pack(1, 0, state)


def test_a_version_that_never_had_a_segment_is_gone_at_once(stage: Stage) -> None:
    closing = ClosingVersion(stage.context, ServingVersion(stage.context, stage.plan, stage).retire(), stage)
    closing.close(drain_s=60.0)
    stage.run_until(lambda: stage.gone == [closing])
    assert closing.state is VersionState.GONE


def test_instances_stay_while_somebody_waits_and_the_segment_while_somebody_holds_it(stage: Stage) -> None:
    serving, frontend = stage.serving(instances=2), stage.frontend()
    serving.offer(frontend)
    fill(serving, WRITING)
    closing = ClosingVersion(stage.context, serving.retire(), stage)
    closing.close(drain_s=60.0)
    for _ in range(3):
        stage.loop.run_once(0.01)
    assert closing.state is VersionState.DRAINING
    assert closing.pool.seats.working == 2
    kill(stage)
    stage.run_until(lambda: closing.state is VersionState.VACANT)
    assert closing.held_by == [os.getpid()]
    assert not stage.gone
    fill(closing, FREE)  # nobody says so: the belt finds it
    stage.run_until(lambda: stage.gone == [closing])
    assert closing.held_by == []


def test_when_time_is_up_instances_are_told_to_leave_whoever_waits(stage: Stage) -> None:
    serving, frontend = stage.serving(instances=1), stage.frontend()
    serving.offer(frontend)
    fill(serving, WRITING)
    closing = ClosingVersion(stage.context, serving.retire(), stage)
    closing.close(drain_s=60.0)
    closing.close(drain_s=0.0)  # a second order is in more of a hurry
    stage.run_until(lambda: closing.state is VersionState.VACANT)  # it does not listen, and was killed
    closing.frontend_died(frontend)
    stage.run_until(lambda: stage.gone == [closing])


def test_what_a_peer_of_a_predecessor_may_still_hold_is_not_let_go(stage: Stage) -> None:
    stage.back = False
    closing = ClosingVersion(stage.context, stage.serving(instances=0).retire(), stage)
    closing.close(drain_s=0.0)
    stage.run_until(lambda: closing.state is VersionState.VACANT)
    for _ in range(3):
        stage.loop.run_once(0.01)
    assert not stage.gone
    stage.back = True
    closing.pool_changed()
    stage.run_until(lambda: stage.gone == [closing])


def test_who_let_go_of_its_lane_unseen_is_not_kept_for_ever(stage: Stage) -> None:
    """It said so to a predecessor, and has no connection in which it would have to."""
    serving, frontend = stage.serving(instances=0), stage.frontend()
    serving.offer(frontend)
    closing = ClosingVersion(stage.context, serving.retire(), stage)
    closing.close(drain_s=0.0)
    stage.run_until(lambda: stage.gone == [closing])
    assert stage.frontends.all() == []
    assert frontend.pidfd < 0


def test_a_version_that_has_retired_gives_no_lane_and_holds_nothing(stage: Stage) -> None:
    serving = stage.serving(instances=0)
    waiting = [stage.frontend() for _ in range(3)]
    for frontend in waiting:
        serving.offer(frontend)
    assert serving.waiting_pids == [os.getpid()]
    closing = ClosingVersion(stage.context, serving.retire(), stage)
    serving.offer(waiting[2])
    serving.pool_changed()
    assert serving.plane is None
    assert serving.waiting_pids == closing.waiting_pids == []
    assert [closing.has_lane(frontend) for frontend in waiting] == [True, True, False]
    closing.close(drain_s=0.0)
    closing.frontend_left(waiting[0])  # its lane is free, and nobody gets it
    stage.run_until(lambda: stage.gone == [closing])
    assert not closing.has_lane(waiting[2])


def test_lanes_go_to_those_who_wait_in_order_and_each_hears_of_it_until_it_is_told(stage: Stage) -> None:
    given: list[Frontend] = []
    failures = [3]

    def tell(frontend: Frontend) -> None:
        if failures[0]:
            failures[0] -= 1
            raise OSError("no descriptor left")
        given.append(frontend)

    queue = LaneQueue(stage.loop, stage.plan, tell)
    plane = Plane.create(
        stage.loop, stage.options, PlaneHooks(lambda name: True, queue.serve), DESCRIPTION, ("cpu",)
    )
    frontends = [stage.frontend() for _ in range(5)]
    queue.add(frontends[0])
    assert plane.lanes.owners == {}  # it is not open yet
    queue.open(plane)
    for frontend in frontends:
        queue.add(frontend)
        queue.add(frontend)
    assert list(plane.lanes.owners.values()) == frontends[:2]
    stage.run_until(lambda: len(given) == 2)
    assert set(given) == set(frontends[:2])
    assert len(queue.pids) == 3
    queue.drop(frontends[2])
    plane.lanes.frontend_died(frontends[0])
    stage.run_until(lambda: given[2:] == [frontends[3]])
    queue.close()
    plane.lanes.frontend_died(frontends[1])
    stage.run_until(lambda: plane.lanes.free == 1)
    assert plane.lanes.lane_of(frontends[4]) is None
    plane.close()
