"""Random walks through everything that owners, instances and the steward may do, with deaths between any two calls.

In one process, so that a failing walk is shrunk to a few steps. Deaths inside a call are the affair of `test_kills.py`
and of the stress test.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.shm.batch import Batch, BatchReply
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.records import Outcome
from engine.shm.taker import Taker
from engine.shm.words import LEASED, lessee_of, state_of
from tests.shm.rig import Rig, answers, one_by_one, request, take_all

LANES = 3
lanes = st.integers(0, LANES - 1)
instances = st.integers(0, 1)


@dataclass
class Instance:
    """A living instance and what it holds, slot by slot."""

    taker: Taker
    held: list[Batch] = field(default_factory=list)


class Segments(RuleBasedStateMachine):
    """The walk, and what must be true at each of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(lanes=LANES, slots=2, payload_bytes=8192)  # pages of their own, which come and go
        self.owners: dict[int, LaneOwner] = {lane: self.rig.owner(lane) for lane in range(LANES)}
        self.notices: dict[int, list[int]] = {lane: [] for lane in range(LANES)}
        self.instances = [Instance(self.rig.taker()), Instance(self.rig.taker())]
        self.dead_names: set[int] = set()
        self.waiting: dict[int, tuple[int, Item]] = {}  # value -> lane, item
        self.next_value = 1
        self.other_lease = self.rig.lease()
        self.lease_is_busy = False

    # --- frontends --------------------------------------------------------------------------------------------------

    @rule(lane=lanes)
    def submit(self, lane: int) -> None:
        if lane in self.owners:
            value, self.next_value = self.next_value, self.next_value + 1
            item = request(value)
            if self.owners[lane].offer(item):
                self.waiting[value] = (lane, item)
            else:
                assert self.owners[lane].outstanding == 2

    @rule(lane=lanes)
    def harvest(self, lane: int) -> None:
        if lane in self.owners:
            self.deliver(self.owners[lane].harvest())

    @rule(pick=st.integers(0, 100))
    def abandon(self, pick: int) -> None:
        if self.waiting:
            value = sorted(self.waiting)[pick % len(self.waiting)]
            lane, item = self.waiting.pop(value)
            self.owners[lane].abandon(item)

    @rule(lane=lanes)
    def hear_of_deaths(self, lane: int) -> None:
        if lane in self.owners and self.notices[lane]:
            name = self.notices[lane].pop(0)
            self.deliver(self.owners[lane].instance_died(name, alive=2))

    def deliver(self, home: list[Item]) -> None:
        for item in home:
            value = int(item.payload[0])
            _, waiting = self.waiting.pop(value)  # a KeyError is an answer nobody waits for, or the second one
            assert item is waiting
            if item.outcome is Outcome.OK:
                assert item.probabilities[0] == value
            else:
                assert item.outcome is Outcome.CRASHED

    # --- instances --------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.lease_is_busy)
    @rule(which=instances, most=st.integers(1, 3))
    def take(self, which: int, most: int) -> None:
        instance = self.instances[which]
        instance.held += one_by_one(instance.taker.take(lambda ready: take_all(ready)[:most]))

    @rule(which=instances)
    def start(self, which: int) -> None:
        for batch in self.instances[which].held:
            self.instances[which].taker.start(batch)

    @rule(which=instances, most=st.integers(1, 3))
    def reply(self, which: int, most: int) -> None:
        instance = self.instances[which]
        answered, instance.held = instance.held[:most], instance.held[most:]
        instance.taker.reply([BatchReply(batch, Outcome.OK, answers(batch), batch_size=1) for batch in answered])

    @rule(which=instances)
    def kill_instance(self, which: int) -> None:
        name = self.instances[which].taker.name
        self.dead_names.add(name)
        self.rig.steward.clear_row(name)
        for lane in self.owners:
            self.notices[lane].append(name)
        self.instances[which] = Instance(self.rig.taker())

    # --- the steward ------------------------------------------------------------------------------------------------

    @rule(lane=lanes)
    def kill_frontend(self, lane: int) -> None:
        if self.owners.pop(lane, None) is not None:
            self.notices[lane].clear()
            self.waiting = {value: entry for value, entry in self.waiting.items() if entry[0] != lane}

    @precondition(lambda self: not self.lease_is_busy)
    @rule(lane=lanes)
    def sweep(self, lane: int) -> None:
        if lane not in self.owners and self.rig.steward.sweep(lane, self.dead_names.__contains__) == 0:
            self.rig.steward.vacate(lane)
            self.owners[lane] = self.rig.owner(lane)

    @rule()
    def somebody_holds_the_lease(self) -> None:
        if self.lease_is_busy:
            self.other_lease.release()
        else:
            self.other_lease.acquire()
        self.lease_is_busy = not self.lease_is_busy

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def slots_add_up(self) -> None:
        assert self.rig.steward.counts().total == 2 * LANES
        for owner in self.owners.values():
            assert owner.free + owner.outstanding == 2

    @invariant()
    def what_is_held_is_nobody_elses(self) -> None:
        for instance in self.instances:
            for batch in instance.held:
                word = self.rig.segment.tables.word[batch.slots[0]]
                assert (state_of(word), lessee_of(word)) == (LEASED, instance.taker.name)
                assert f"request-{batch.payloads().samples[0][0]}" == batch.request_id(0)

    def teardown(self) -> None:
        """At rest everything is answered and every slot is FREE."""
        if self.lease_is_busy:
            self.somebody_holds_the_lease()
        for _ in range(3):  # a verdict needs no more
            for which in (0, 1):
                self.reply(which, 100)
                self.take(which, 100)
                self.reply(which, 100)
            for lane in range(LANES):
                self.sweep(lane)
                while self.notices[lane]:
                    self.hear_of_deaths(lane)
                self.harvest(lane)
        assert not self.waiting
        assert self.rig.steward.counts().free == 2 * LANES
        self.rig.close()


TestSegments = Segments.TestCase
TestSegments.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
