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
from engine.core.batching import BatchPolicy
from engine.shm.batch import Batch, BatchReply
from engine.shm.bell import Bell
from engine.shm.lease import Lease
from engine.shm.ready import ReadySlots
from engine.shm.records import Outcome
from engine.shm.segment import Segment
from engine.shm.taker import Taker
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

    def choose(self, ready: ReadySlots) -> list[int]:
        chosen = ready.choose(BatchPolicy(self.config["max_batch"], AGING_NS), self.now_ns)
        words = self.segment.tables.word
        for index in chosen:
            self.ledger.add(Entry.CHOSEN, index, generation_of(words[index]))
        return chosen

    def run(self) -> None:
        """Until the parent hangs up."""
        while True:
            self.now_ns = now_ns()
            taken = self.taker.take(self.choose) if self.taker.look() else None
            if taken:
                self.work(taken)
            elif not self.wait():
                return

    def wait(self) -> bool:
        """Sleeps until there may be work; False once it is time to leave."""
        events = self.poller.poll()
        self.doorbell.drain()
        return all(fd != self.sock.fileno() for fd, _ in events)

    def work(self, taken: Batch) -> None:
        self.note(Entry.LEASED, taken)
        wanted, unwanted, expired = taken.sort_out(self.now_ns)
        live = taken.part(wanted)
        self.taker.start(live)
        checksums = self.check(live)
        sizes = [samples.nbytes for samples in live.payloads().samples]
        rows = [wire.answer_to(checksum, size) for checksum, size in zip(checksums, sizes)]
        answers = np.array(rows, dtype=np.float32).reshape(len(live), wire.CLASSES)
        if self.random.random() < self.config["slow_share"]:
            time.sleep(self.random.random() * SLOW_S)
        self.check(live)  # again: somebody may have stored into it meanwhile
        self.note(Entry.REPLYING, taken)
        alone = live.column("isolate") == [1]
        self.taker.reply([
            BatchReply(live, Outcome.OK, answers, batch_size=1 if alone else 2),
            BatchReply(taken.part(unwanted), Outcome.CANCELLED, None),
            BatchReply(taken.part(expired), Outcome.EXPIRED, None),
        ])

    def note(self, entry: Entry, batch: Batch) -> None:
        for slot, word in zip(batch.slots, batch.words):
            self.ledger.add(entry, slot, generation_of(word))

    def check(self, batch: Batch) -> list[int]:
        """The checksums of payloads that are whole; a torn one ends the process."""
        checksums = [wire.checksum_if_whole(samples.view(np.uint8)) for samples in batch.payloads().samples]
        found = [checksum for checksum in checksums if checksum is not None]
        if len(found) < len(checksums):
            sys.exit(EXIT_TORN_PAYLOAD)
        return found


def main() -> None:
    Consumer(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
