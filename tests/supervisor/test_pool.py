"""The pool by itself: seats, real child processes, and a version's part played by a recorder."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.clock import NS_PER_MS, now_ns
from engine.config import load_settings
from engine.core.leaving import LeavePolicy
from engine.launch.identity import is_dead, send_signal
from engine.supervisor.children import spawn
from engine.supervisor.instance import Instance
from engine.supervisor.loop import Loop
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.pool import Pool

PAUSE = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
LEAVING = LeavePolicy(idle_ns=20 * NS_PER_MS, margin_ns=20 * NS_PER_MS)


class Version:
    """Keeps what the pool says, and answers for the slots."""

    def __init__(self) -> None:
        self.deadline_ns: int | None = None
        self.ordered: list[tuple[int, bool]] = []  # name, and whether it lived when its death was ordered
        self.died: list[tuple[int, int]] = []  # name, and when

    def instance_connected(self, instance: Instance) -> None:
        raise AssertionError("nobody connects here")

    def instance_loaded(self, instance: Instance, description: bytes) -> None:
        raise AssertionError("nobody loads here")

    def instance_ready(self, instance: Instance) -> None:
        raise AssertionError("nobody becomes ready here")

    def instance_died(self, instance: Instance) -> None:
        self.died.append((instance.name, now_ns()))

    def latest_deadline_ns(self, instance: Instance, *, arrived_by_ns: int) -> int | None:
        return self.deadline_ns

    def death_ordered(self, instance: Instance) -> None:
        self.ordered.append((instance.name, not is_dead(instance.pidfd)))

    def pool_changed(self) -> None:
        pass


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def version() -> Version:
    return Version()


@pytest.fixture
def pool(loop: Loop, version: Version, runtime_dir: Path) -> Iterator[Pool]:
    """Whoever is left in it at the end is killed."""
    options = SupervisorOptions.from_settings(load_settings({}), runtime_dir)
    options = dataclasses.replace(options, instance_command=tuple(PAUSE), leaving=LEAVING)
    made = Pool(loop, options, version, {})
    yield made
    made.empty()
    for instance in made.instances():
        send_signal(instance.pidfd, signal.SIGKILL)
    while next(made.instances(), None) is not None:
        loop.run_once(1.0)


def adopted(pool: Pool, name: int, *, seat: int = 0, device: str = "cpu") -> Instance:
    child = spawn(PAUSE)
    return pool.adopt(child.identity, child.pidfd, name, seat=seat, device=device)


def run_until_dead(loop: Loop, version: Version, name: int) -> int:
    """When it died."""
    end_ns = now_ns() + 20_000 * NS_PER_MS
    while name not in dict(version.died):
        assert now_ns() < end_ns
        loop.run_once(1.0)
    return dict(version.died)[name]


def test_a_batch_in_hand_is_waited_for_until_its_deadline(pool: Pool, loop: Loop, version: Version) -> None:
    adopted(pool, 7)
    version.deadline_ns = now_ns() + 300 * NS_PER_MS
    pool.empty()
    assert run_until_dead(loop, version, 7) >= version.deadline_ns
    assert version.ordered == [(7, True)]


def test_an_idle_instance_that_does_not_leave_is_killed_soon(pool: Pool, loop: Loop, version: Version) -> None:
    adopted(pool, 7)
    began_ns = now_ns()
    pool.empty()
    assert began_ns + LEAVING.idle_ns <= run_until_dead(loop, version, 7)
    assert version.ordered == [(7, True)]


def test_a_deadline_for_ever_is_no_timer_for_ever(pool: Pool, loop: Loop, version: Version) -> None:
    """Longer than any timer of the system can be set; then its frontend dies, and nobody waits any more."""
    adopted(pool, 7)
    version.deadline_ns = 2**64 - 1
    pool.empty()
    loop.run_once(0.05)
    loop.run_once(0.05)
    assert not version.died
    pool.kill()
    run_until_dead(loop, version, 7)


def test_every_kill_is_an_order_before_it_happens(pool: Pool, loop: Loop, version: Version) -> None:
    for name in (1, 2):
        adopted(pool, name, seat=name)
    pool.kill()
    for name in (1, 2):
        run_until_dead(loop, version, name)
    assert version.ordered == [(1, True), (2, True)]


def test_who_dies_of_itself_was_not_ordered_to(pool: Pool, loop: Loop, version: Version) -> None:
    os.kill(adopted(pool, 3).identity.pid, signal.SIGKILL)
    run_until_dead(loop, version, 3)
    assert version.ordered == []


def test_adopted_seats_have_the_devices_their_instances_run_on(pool: Pool) -> None:
    """Of 1 (cuda:0), 2 (cuda:1) and 4 (cuda:0) the first died and was replaced by 5, which sits where 1 sat."""
    for name, seat, device in ((2, 1, "cuda:1"), (4, 2, "cuda:0"), (5, 0, "cuda:0")):
        assert adopted(pool, name, seat=seat, device=device).device == device
    assert [(seat.index, seat.device) for seat in pool.seats] == [(0, "cuda:0"), (1, "cuda:1"), (2, "cuda:0")]


def test_the_seat_that_was_empty_at_adoption_is_the_one_filled(pool: Pool) -> None:
    adopted(pool, 2, seat=1, device="cuda:1")
    pool.resize(3, ("cuda:0", "cuda:1"))
    assert [(seat.index, seat.device) for seat in pool.seats] == [(0, "cuda:0"), (1, "cuda:1"), (2, "cuda:0")]


def test_two_that_had_the_same_seat_both_find_one(pool: Pool) -> None:
    """One was leaving when the supervisor died, the other had taken its place."""
    for name in (1, 2):
        adopted(pool, name, seat=0)
    assert [seat.index for seat in pool.seats] == [0, 1]


def test_a_child_that_said_why_it_ends_is_waited_for_too(pool: Pool, loop: Loop, version: Version) -> None:
    """Else each failed start would leave a zombie."""
    instance = adopted(pool, 3)
    instance.error = "no luck"
    pid = instance.identity.pid
    os.kill(pid, signal.SIGKILL)
    run_until_dead(loop, version, 3)
    assert not Path(f"/proc/{pid}").exists()
