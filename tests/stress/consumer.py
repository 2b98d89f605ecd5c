"""A stand-in for an instance: takes batches, answers each item by its checksum, notes everything in its ledger.

No belt: it waits for the doorbell for ever, so that a wake-up that got lost is a hang that the parent sees.
"""

from __future__ import annotations

import random
import select
import socket
import sys
import time

import numpy as np

from engine.clock import NS_PER_MS, now_ns
from engine.core.batching import Candidate, choose
from engine.shm.bell import Bell
from engine.shm.lease import Lease
from engine.shm.segment import Segment
from engine.shm.taker import Outcome, SlotResult, TakenSlot, Taker
from engine.shm.words import generation_of
from tests.stress import wire
from tests.stress.ledger import Entry, Ledger

AGING_NS = 2 * NS_PER_MS
SLOW_S = 0.004
EXIT_TORN_PAYLOAD = 41


class Consumer:
    """One instance."""

    def __init__(self, sock: socket.socket) -> None:
        received = wire.receive(sock)
        assert received is not None
        self.config, fds = received
        self.sock = sock
        self.random = random.Random(self.config["name"])
        self.segment = Segment.attach(fds[0])
        self.doorbell = Bell(fds[1])
        self.ledger = Ledger(fds[2])
        bells = [Bell(fd) for fd in fds[3:]]
        self.taker = Taker(self.segment, self.config["name"], Lease(fds[0]), self.doorbell, bells)
        self.poller = select.epoll()
        self.poller.register(self.doorbell.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self.poller.register(sock.fileno(), select.EPOLLIN)

    def choose(self, candidates: list[Candidate]) -> list[int]:
        chosen = choose(candidates, max_batch=self.config["max_batch"], now_ns=self.now_ns, aging_ns=AGING_NS)
        words = self.segment.tables.word
        for index in chosen:
            self.ledger.add(Entry.CHOSEN, index, generation_of(words[index]))
        return chosen

    def run(self) -> None:
        """Until the parent hangs up."""
        while True:
            self.now_ns = now_ns()
            slots = self.taker.take(self.choose)
            if slots:
                self.work(slots)
            elif not self.wait():
                return

    def wait(self) -> bool:
        """Sleeps until there may be work; False once it is time to leave."""
        events = self.poller.poll()
        self.doorbell.drain()
        return all(fd != self.sock.fileno() for fd, _ in events)

    def work(self, slots: list[TakenSlot]) -> None:
        for slot in slots:
            self.ledger.add(Entry.LEASED, slot.index, slot.generation)
        live = [slot for slot in slots if not (slot.cancelled or slot.frontend_dead or slot.deadline_ns <= self.now_ns)]
        self.taker.start(live)
        results = [self.compute(slot) for slot in live]
        if self.random.random() < self.config["slow_share"]:
            time.sleep(self.random.random() * SLOW_S)
        for slot in slots:
            if slot not in live:
                results.append(SlotResult(slot, Outcome.CANCELLED if slot.cancelled else Outcome.EXPIRED, None))
        for result in results:
            if result.outcome is Outcome.OK:
                self.check(result.slot)  # again: somebody may have stored into it meanwhile
            self.ledger.add(Entry.REPLYING, result.slot.index, result.slot.generation)
        self.taker.reply(results)

    def compute(self, slot: TakenSlot) -> SlotResult:
        checksum = self.check(slot)
        answer = np.array(wire.answer_to(checksum, slot.payload.size), dtype=np.float32)
        return SlotResult(slot, Outcome.OK, answer, batch_size=1 if slot.isolate else 2)

    def check(self, slot: TakenSlot) -> int:
        checksum = wire.checksum_if_whole(slot.payload)
        if checksum is None:
            sys.exit(EXIT_TORN_PAYLOAD)
        return checksum


def main() -> None:
    Consumer(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
