"""A stand-in for a frontend: keeps its lane full, abandons a third of its requests, checks every answer.

Like the consumers it has no belt: it sleeps until a bell, a message, a death, or the moment of its next cancellation.
"""

from __future__ import annotations

import heapq
import os
import random
import select
import socket
import sys
from dataclasses import dataclass, field

import numpy as np

from engine.clock import NS_PER_MS, NS_PER_S, now_ns
from engine.errors import EngineClosed
from engine.shm.bell import Bell
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.lease import Lease
from engine.shm.records import Outcome
from engine.shm.segment import Segment
from engine.shm.words import LEASED, lessee_of, state_of
from tests.stress import wire
from tests.stress.ledger import Entry, Ledger

EXIT_WRONG_ANSWER = 42
LEAVING = 0.5  # share of the requests that are to be abandoned; a good third are, the others are answered before
PATIENCE_NS = 60 * NS_PER_S


@dataclass(slots=True)
class Sent:
    """One request, until it is answered or abandoned."""

    request_id: str
    caller_hash: int
    level: int
    arrival_ns: int
    turn_ns: int
    deadline_ns: int
    checksum: int
    size_bytes: int
    expires: bool
    done: bool = False


@dataclass(order=True, slots=True)
class Abandon:
    """A moment at which a request is to be abandoned."""

    at_ns: int
    item: Item = field(compare=False)
    sent: Sent = field(compare=False)


class Producer:
    """One frontend."""

    def __init__(self, sock: socket.socket) -> None:
        received = wire.receive(sock)
        assert received is not None
        self.config, fds = received
        self.sock = sock
        self.random = random.Random(self.config["seed"])
        self.segment = Segment.attach(fds[0])
        self.reply_bell = Bell(fds[2])
        self.ledger = Ledger(fds[3])
        self.lane = LaneOwner(self.segment, self.config["lane"], Lease(fds[0]), Bell(fds[1]), self.reply_bell)
        self.bodies = [self.random.randbytes(2 * self.random.randrange(1000)) for _ in range(257)]
        self.to_abandon: list[Abandon] = []
        self.names_by_pidfd: dict[int, int] = {}
        self.number = 0
        self.poller = select.epoll()
        self.poller.register(self.reply_bell.fileno(), select.EPOLLIN)
        self.poller.register(sock.fileno(), select.EPOLLIN)
        for name, pidfd in zip(self.config["names"], fds[4:], strict=True):
            self.watch(name, pidfd)

    def watch(self, name: int, pidfd: int) -> None:
        self.names_by_pidfd[pidfd] = name
        self.poller.register(pidfd, select.EPOLLIN)

    def run(self) -> None:
        """Until the segment is closing and everything has come home."""
        while not (self.segment.closing and self.lane.outstanding == 0):
            self.abandon_due()
            self.deliver(self.lane.harvest())
            self.fill_lane()
            for fd, _ in self.poller.poll(self.poll_timeout_s()):
                self.handle(fd)
        wire.send(self.sock, {"idle": self.number})

    def poll_timeout_s(self) -> float | None:
        if self.to_abandon:
            return max(0, self.to_abandon[0].at_ns - now_ns()) / NS_PER_S
        return None

    def handle(self, fd: int) -> None:
        if fd == self.reply_bell.fileno():
            self.deliver(self.lane.harvest())
        elif fd == self.sock.fileno():
            self.listen()
        else:
            self.bury(fd)

    def listen(self) -> None:
        received = wire.receive(self.sock)
        if received is None:
            sys.exit(1)
        message, fds = received
        if "up" in message:
            self.watch(message["up"], fds[0])

    def fill_lane(self) -> None:
        try:
            while self.submit():
                pass
        except EngineClosed:
            return

    def submit(self) -> bool:
        """One request more; False if no slot is free."""
        self.number += 1
        payload, checksum = wire.seal(self.config["lane"], self.number, self.random.choice(self.bodies))
        arrival_ns, fate = now_ns(), self.random.random()
        leave_at_ns = arrival_ns + self.random.randrange(NS_PER_MS // 2)
        expires = fate < LEAVING / 2
        sent = Sent(
            request_id=f"request-{self.number}",
            caller_hash=self.number,
            level=self.number % 3 - 1,
            arrival_ns=arrival_ns,
            turn_ns=arrival_ns,
            deadline_ns=leave_at_ns if expires else arrival_ns + PATIENCE_NS,
            checksum=checksum,
            size_bytes=len(payload),
            expires=expires,
        )
        item = Item(np.frombuffer(payload, np.int16))
        item.ticket = sent
        if not self.lane.offer(item):
            return False
        self.ledger.add(Entry.SUBMITTED, item.slot, item.generation)
        if fate < LEAVING:
            heapq.heappush(self.to_abandon, Abandon(leave_at_ns, item, sent))
        return True

    def abandon_due(self) -> None:
        while self.to_abandon and self.to_abandon[0].at_ns <= now_ns():
            leaver = heapq.heappop(self.to_abandon)
            if not leaver.sent.done:
                leaver.sent.done = True
                self.ledger.add(Entry.ABANDONED, leaver.item.slot, leaver.item.generation)
                self.lane.abandon(leaver.item)

    def deliver(self, home: list[Item]) -> None:
        for item in home:
            sent = item.ticket
            assert isinstance(sent, Sent)
            if sent.done or not self.is_right(item, sent):
                print(f"wrong answer: {item.probabilities} {item.error!r} to {sent}", file=sys.stderr)
                sys.exit(EXIT_WRONG_ANSWER)
            sent.done = True
            self.ledger.add(Entry.ANSWERED, item.slot, item.generation)

    def is_right(self, item: Item, sent: Sent) -> bool:
        if item.outcome is Outcome.OK:
            return tuple(item.probabilities.tolist()) == wire.answer_to(sent.checksum, sent.size_bytes)
        if item.outcome is Outcome.EXPIRED:
            return sent.expires
        return item.outcome is Outcome.CRASHED

    def bury(self, pidfd: int) -> None:
        """An instance died: notes what that means for each slot, going by its word and marks, then lets it happen."""
        name = self.names_by_pidfd.pop(pidfd)
        self.poller.unregister(pidfd)
        os.close(pidfd)
        tables, slots = self.segment.tables, self.segment.geometry.slots
        self.deliver(self.lane.harvest())
        for index in range(self.config["lane"] * slots, (self.config["lane"] + 1) * slots):
            word = tables.word[index]
            if state_of(word) == LEASED and lessee_of(word) == name and not tables.cancel[index]:
                convicted = tables.started[index] == name and tables.attempt[index] == 1
                self.ledger.add(Entry.CONVICTED if convicted else Entry.REDISPATCHED, index, word >> 32, name)
        self.deliver(self.lane.instance_died(name, alive=len(self.names_by_pidfd)))


def main() -> None:
    Producer(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
