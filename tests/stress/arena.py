"""The stress test itself: real producers and consumers on one segment, a steward, and SIGKILL.

The parent does what a supervisor does on this protocol, and no more: names, pidfds to every producer before an instance
may take, lanes handed over when their dead owner's slots are all FREE. It learns of deaths from pidfds alone.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from engine.clock import NS_PER_S, now_ns
from engine.crash_points import VARIABLE
from engine.shm.bell import Bell
from engine.shm.layout import Geometry
from engine.shm.records import LaneStatistics
from engine.shm.segment import Segment
from engine.shm.steward import Steward
from engine.shm.words import FREE, pack
from tests.stress import wire
from tests.stress.ledger import Entry, Ledger
from tests.stress.verdict import Evidence, violations

ROOT = Path(__file__).resolve().parents[2]
STALL_S = 20.0  # a producer that has not been answered for so long waits for somebody dead
FIRST_GENERATION = (1 << 32) - 50  # so that generations wrap while it runs
CONSUMER_POINTS = (
    "take.lease", "take.slot", "take.leased", "start.marked", "reply.written", "reply.slot", "reply.rung",
)  # fmt: skip
PRODUCER_POINTS = ("submit.writing", "submit.ready", "harvest.copied", "abandon.lease", "death.slot")


@dataclass(frozen=True)
class Plan:
    """What to do. Everything random follows from `seed`, but for the timing of the machine."""

    seed: int
    handovers: int  # answered requests after which it ends
    producers: int = 2
    consumers: int = 2
    slots: int = 32
    max_batch: int = 16
    kill_every_s: float = 0.6  # on average
    slow_share: float = 0.25  # of the batches take some milliseconds, so that kills find work in hand
    at_least_kills: int = 0  # goes on until so many have died


@dataclass
class Outcome:
    """What happened."""

    wrong: list[str] = field(default_factory=list)
    answered: int = 0
    abandoned: int = 0
    redispatched: int = 0
    convicted: int = 0
    consumer_deaths: int = 0
    producer_deaths: int = 0
    lanes_handed_over: int = 0
    duration_s: float = 0.0
    slots: LaneStatistics = field(default_factory=LaneStatistics)


@dataclass
class Child:
    """One producer (`lane` set) or consumer (`name` set)."""

    process: subprocess.Popen[bytes]
    sock: socket.socket
    pidfd: int
    ledger_fd: int
    ledger: Ledger
    lane: int = -1
    name: int = 0
    progress: int = 0  # length of the ledger when it last grew
    progress_at_ns: int = 0


class Arena:
    """One run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        lanes = 2 * plan.producers + 2
        geometry = Geometry(lanes, plan.slots, wire.PAYLOAD_BYTES, 4 * wire.CLASSES)
        self.segment = Segment.create(geometry)
        for index in range(geometry.slot_count):
            self.segment.tables.word[index] = pack(FIRST_GENERATION, 0, FREE)
        self.steward = Steward(self.segment)
        self.doorbell = Bell.create()
        self.reply_bells = [Bell.create() for _ in range(lanes)]
        self.poller = select.poll()
        self.children: dict[int, Child] = {}  # by pidfd
        self.orphaned: set[int] = set()  # lanes to be swept
        self.answered_by_the_gone = 0
        self.evidence = Evidence()
        self.outcome = Outcome()

    # --- children ---------------------------------------------------------------------------------------------------

    def spawn(self, role: str, points: tuple[str, ...]) -> Child:
        """A child that waits for its descriptors; three in four die at a crash point, unless killed before."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = dict(os.environ)
        environment.pop(VARIABLE, None)
        if self.random.random() < 0.75:
            environment[VARIABLE] = f"{self.random.choice(points)}:{int(self.random.paretovariate(0.4)) % 50_000 + 1}"
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.stress.{role}", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        pidfd = os.pidfd_open(process.pid)
        ledger_fd = Ledger.new_file()
        child = Child(process, ours, pidfd, ledger_fd, Ledger(ledger_fd), progress_at_ns=now_ns())
        self.children[pidfd] = child
        self.poller.register(pidfd, select.POLLIN)
        return child

    def start_consumer(self) -> None:
        """Row, pidfd to every producer, *go*, and only then the descriptors: what it takes with."""
        child = self.spawn("consumer", CONSUMER_POINTS)
        child.name = self.steward.new_name(child.process.pid, 1)
        for producer in self.of_role(lane=True):
            wire.send(producer.sock, {"up": child.name}, [child.pidfd])
        self.steward.mark_go(child.name)
        fds = [self.segment.fd, self.doorbell.fileno(), child.ledger_fd, *(bell.fileno() for bell in self.reply_bells)]
        config = {"name": child.name, "max_batch": self.plan.max_batch, "slow_share": self.plan.slow_share}
        wire.send(child.sock, config, fds)

    def start_producer(self) -> None:
        """Hands out the lowest lane that nobody has."""
        child = self.spawn("producer", PRODUCER_POINTS)
        child.lane = next(lane for lane in range(len(self.reply_bells)) if self.steward.owner_of(lane).pid == 0)
        self.steward.assign(child.lane, child.process.pid, 1)
        consumers = self.of_role(lane=False)
        fds = [self.segment.fd, self.doorbell.fileno(), self.reply_bells[child.lane].fileno(), child.ledger_fd]
        fds += [consumer.pidfd for consumer in consumers]
        names = [consumer.name for consumer in consumers]
        config = {"lane": child.lane, "seed": self.random.randrange(1 << 30), "names": names}
        wire.send(child.sock, config, fds)

    def of_role(self, *, lane: bool) -> list[Child]:
        return [child for child in self.children.values() if (child.lane >= 0) == lane]

    # --- events -----------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Until enough is answered and all is quiet, or something is wrong."""
        started_ns = now_ns()
        for _ in range(self.plan.consumers):
            self.start_consumer()
        for _ in range(self.plan.producers):
            self.start_producer()
        next_kill_ns = self.next_kill_ns()
        while not self.outcome.wrong and not self.enough():
            self.wait(0.05)
            if now_ns() >= next_kill_ns:
                self.kill_somebody()
                next_kill_ns = self.next_kill_ns()
        self.segment.set_closing()
        while not self.outcome.wrong and (self.of_role(lane=True) or self.orphaned):
            for child in self.of_role(lane=True):
                wire.send(child.sock, {"closing": True})
            self.wait(0.05)
        self.outcome.duration_s = (now_ns() - started_ns) / NS_PER_S
        self.finish()
        return self.outcome

    def next_kill_ns(self) -> int:
        return now_ns() + int(self.random.expovariate(1 / self.plan.kill_every_s) * NS_PER_S)

    def enough(self) -> bool:
        answered = self.answered_by_the_gone + sum(child.ledger.answers for child in self.of_role(lane=True))
        deaths = self.outcome.consumer_deaths + self.outcome.producer_deaths
        return answered >= self.plan.handovers and deaths >= self.plan.at_least_kills

    def kill_somebody(self) -> None:
        victims = list(self.children.values())
        count = 2 if self.random.random() < 0.1 else 1
        for child in self.random.sample(victims, min(count, len(victims))):
            child.process.send_signal(signal.SIGKILL)

    def wait(self, timeout_s: float) -> None:
        """One turn: deaths, then lanes that may have become free, then whether everybody gets on."""
        for fd, _ in self.poller.poll(timeout_s * 1000):
            if fd in self.children:
                self.bury(self.children.pop(fd))
            else:
                self.reply_bells[self.lane_of_bell(fd)].drain()
        for lane in list(self.orphaned):
            self.sweep(lane)
        self.check_progress()

    def lane_of_bell(self, fd: int) -> int:
        return next(lane for lane, bell in enumerate(self.reply_bells) if bell.fileno() == fd)

    def bury(self, child: Child) -> None:
        self.poller.unregister(child.pidfd)
        code = child.process.wait()
        child.sock.close()
        if code not in (0, -signal.SIGKILL):
            self.outcome.wrong.append(f"child {child.process.args!r} ended with {code}")
        if child.lane >= 0:
            self.bury_producer(child, regular=code == 0)
        else:
            self.bury_consumer(child)
        os.close(child.pidfd)
        os.close(child.ledger_fd)

    def bury_producer(self, child: Child, *, regular: bool) -> None:
        (self.evidence.survivors if regular else self.evidence.killed).append(child.ledger.entries())
        self.answered_by_the_gone += child.ledger.answers
        self.orphaned.add(child.lane)
        self.poller.register(self.reply_bells[child.lane].fileno(), select.POLLIN)
        if not regular:
            self.outcome.producer_deaths += 1
            if not self.segment.closing:
                self.start_producer()

    def bury_consumer(self, child: Child) -> None:
        self.evidence.consumers[child.name] = child.ledger.entries()
        self.evidence.dead_names.add(child.name)
        self.steward.clear_row(child.name)
        self.outcome.consumer_deaths += 1
        self.start_consumer()

    def sweep(self, lane: int) -> None:
        """A lane changes hands only when all its slots are FREE."""
        if self.steward.sweep(lane, self.evidence.dead_names.__contains__) == 0:
            self.orphaned.discard(lane)
            self.poller.unregister(self.reply_bells[lane].fileno())
            self.steward.vacate(lane)
            self.outcome.lanes_handed_over += 1

    def check_progress(self) -> None:
        for child in self.of_role(lane=True):
            length = child.ledger.length
            if length != child.progress:
                child.progress, child.progress_at_ns = length, now_ns()
            elif now_ns() - child.progress_at_ns > STALL_S * NS_PER_S:
                self.outcome.wrong.append(
                    f"the producer of lane {child.lane} stands still: {self.steward.counts()}, lease held by "
                    f"{self.segment.holder}, alive {[consumer.name for consumer in self.of_role(lane=False)]}"
                )

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Ends everybody, closes everything, holds the ledgers against each other."""
        for child in list(self.children.values()):
            if self.outcome.wrong:
                child.process.send_signal(signal.SIGKILL)
            child.sock.close()  # a consumer leaves when its parent hangs up
            child.process.wait()
            if child.name:
                self.evidence.consumers[child.name] = child.ledger.entries()
            os.close(child.pidfd)
            os.close(child.ledger_fd)
        self.outcome.slots = self.steward.counts()
        self.steward.close()
        for bell in (self.doorbell, *self.reply_bells):
            bell.close()
        self.segment.close()
        self.judge()

    def judge(self) -> None:
        outcome, evidence = self.outcome, self.evidence
        outcome.answered = evidence.produced(Entry.ANSWERED).size
        outcome.abandoned = evidence.produced(Entry.ABANDONED).size
        outcome.redispatched = evidence.produced(Entry.REDISPATCHED).size
        outcome.convicted = evidence.produced(Entry.CONVICTED).size
        if not outcome.wrong:
            outcome.wrong += violations(evidence)
            if outcome.slots.free != outcome.slots.total:
                outcome.wrong.append(f"slots that never came home: {outcome.slots}")
