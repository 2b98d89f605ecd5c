"""Submit to reply between two processes, for this ring and for the queues one would use instead.

`python -m benchmarks.ring [--rounds N]` prints p50 and p99 in microseconds for payloads of 0, 64 KB and 353 KB (8
seconds of int16 at 22,050 Hz), by this ring, `multiprocessing.Queue` and `torch.multiprocessing.Queue`. Rounds of all
three alternate, so that whatever else the machine does falls on all alike. The model is none: the other process looks
at the payload's first byte and answers six probabilities.

Then, for 1, 8 and 32 requests at once, one reply eventfd per lane against one per slot (a slot per lane); and what it
takes an instance to choose and lease a batch of 8 where 8 slots are READY, and where 1,024 are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.multiprocessing
from numpy.typing import NDArray

from engine.clock import NS_PER_S, now_ns
from engine.core.batching import BatchPolicy
from engine.shm.batch import BatchReply
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

CLASSES = 6
SIZES_BYTES = {"0": 0, "64 KB": 65_536, "353 KB": 352_800}
TARGET_SHARE = 1 / 4  # of the p50 of multiprocessing.Queue, at 353 KB
READY = (8, 1024)  # slots to take a batch out of
TARGET_TAKE = 2.0  # times the p50 where fewest are READY
SAMPLES = 100  # of one size and mechanism, in one round
IN_FLIGHT = (1, 8, 32)
SMALL = np.full(256, 0x0101, dtype=np.int16)

RoundTrip = Callable[[NDArray[np.int16]], None]


# --- this ring ------------------------------------------------------------------------------------------------------


def serve_ring(fds: list[int]) -> None:
    """The other process: takes everything, answers, until its standard input ends."""
    segment, doorbell, bells = Segment.attach(fds[0]), Bell(fds[1]), [Bell(fd) for fd in fds[2:]]
    taker = Taker(segment, 1, Lease(segment.fd), doorbell, bells)
    poller = select.epoll()
    poller.register(doorbell.fileno(), select.EPOLLIN)
    poller.register(sys.stdin.fileno(), select.EPOLLIN)
    probabilities = np.full(CLASSES, 1 / CLASSES, dtype=np.float32)

    def everything(ready: ReadySlots) -> list[int]:
        found: list[int] = ready.slots.tolist()
        return found

    while True:
        batch = taker.take(everything) if taker.look() else None
        if batch:
            taker.start(batch)
            assert all(samples[0] == 0x0101 for samples in batch.payloads().samples)
            answers = np.broadcast_to(probabilities, (len(batch), CLASSES))
            taker.reply([BatchReply(batch, Outcome.OK, answers, batch_size=len(batch))])
        elif any(fd == sys.stdin.fileno() for fd, _ in poller.poll()):
            return
        else:
            doorbell.drain()


@dataclass(slots=True)
class Asker:
    """A request as a slot's header has it."""

    arrival_ns: int
    turn_ns: int
    deadline_ns: int
    request_id: str = "benchmark"
    caller_hash: int = 0
    level: int = 0


def offer(payload: NDArray[np.int16], lanes: list[LaneOwner], count: int) -> None:
    """Submits `count` requests, to one lane after the other."""
    arrival_ns = now_ns()
    asker = Asker(arrival_ns=arrival_ns, turn_ns=arrival_ns, deadline_ns=arrival_ns + NS_PER_S)
    for k in range(count):
        item = Item(payload)
        item.ticket = asker
        assert lanes[k % len(lanes)].offer(item)


class Ring:
    """A segment with one owner per lane in this process."""

    def __init__(self, *, lanes: int, slots: int, payload_bytes: int = max(SIZES_BYTES.values())) -> None:
        self.segment = Segment.create(Geometry(lanes, slots, payload_bytes, 4 * CLASSES, instance_rows=1))
        self.lease, self.doorbell = Lease(self.segment.fd), Bell.create()
        self.bells = [Bell.create() for _ in range(lanes)]
        self.owners = {
            bell.fileno(): LaneOwner(self.segment, lane, self.lease, self.doorbell, bell)
            for lane, bell in enumerate(self.bells)
        }
        self.poller = select.epoll()
        for fd in self.owners:
            self.poller.register(fd, select.EPOLLIN)

    def round_trip(self, payload: NDArray[np.int16], *, count: int = 1) -> None:
        """Submits `count` requests, spread over the lanes, and waits for all their replies."""
        offer(payload if payload.size else SMALL[:1], list(self.owners.values()), count)  # a slot takes some byte
        while count:
            for fd, _ in self.poller.poll():
                count -= len(self.owners[fd].harvest())

    def fds(self) -> list[int]:
        return [self.segment.fd, self.doorbell.fileno(), *(bell.fileno() for bell in self.bells)]

    def close(self) -> None:
        self.poller.close()
        for owner in self.owners.values():
            owner.close()
        self.lease.close()
        for bell in (self.doorbell, *self.bells):
            bell.close()
        self.segment.close()


@contextmanager
def ring(*, lanes: int = 1, slots: int = 32) -> Iterator[Ring]:
    """A ring with the other process behind it."""
    made = Ring(lanes=lanes, slots=slots)
    steward = Steward(made.segment)
    steward.mark_go(steward.new_name(1, 1))
    command = [sys.executable, "-m", "benchmarks.ring", "--serve", *map(str, made.fds())]
    with subprocess.Popen(command, pass_fds=made.fds(), stdin=subprocess.PIPE):
        yield made
    steward.close()
    made.close()


# --- the queues -----------------------------------------------------------------------------------------------------


def serve_queue(requests: Any, replies: Any) -> None:
    """The other process: answers until it gets None."""
    probabilities = np.full(CLASSES, 1 / CLASSES, dtype=np.float32)
    while (payload := requests.get()) is not None:
        assert len(payload) == 0 or payload[0] == 257
        replies.put(probabilities)


@contextmanager
def queue(context: Any, convert: Callable[[NDArray[np.int16]], Any]) -> Iterator[RoundTrip]:
    """Two queues of a multiprocessing context with the other process between them."""
    requests, replies = context.Queue(), context.Queue()
    process = context.Process(target=serve_queue, args=(requests, replies), daemon=True)
    process.start()

    def round_trip(payload: NDArray[np.int16]) -> None:
        requests.put(convert(payload))
        replies.get()

    yield round_trip
    requests.put(None)
    process.join()


# --- measuring ------------------------------------------------------------------------------------------------------


def measure(step: Callable[[], None], samples: int = SAMPLES) -> list[float]:
    """Microseconds of each of `samples` steps."""
    found = []
    for _ in range(samples):
        start_ns = time.perf_counter_ns()
        step()
        found.append((time.perf_counter_ns() - start_ns) / 1000)
    return found


def line(name: str, samples_us: list[float]) -> str:
    p50, p99 = np.percentile(samples_us, [50, 99])
    return f"{name:44} p50 {p50:8.1f} us   p99 {p99:8.1f} us"


def compare_mechanisms(rounds: int) -> bool:
    """Prints the table; whether the ring keeps to its target."""
    # 0x0101 so that the first byte is 1 for a reader of bytes and the first sample 257 for a reader of samples.
    payloads = {name: np.full(size // 2, 0x0101, dtype=np.int16) for name, size in SIZES_BYTES.items()}
    found: dict[tuple[str, str], list[float]] = {}
    spawn, torch_spawn = multiprocessing.get_context("spawn"), torch.multiprocessing.get_context("spawn")
    with ring() as ours, queue(spawn, lambda a: a) as theirs, queue(torch_spawn, torch.from_numpy) as torchs:
        ways: dict[str, RoundTrip] = {
            "this ring": ours.round_trip,
            "multiprocessing.Queue": theirs,
            "torch.multiprocessing.Queue": torchs,
        }
        for turn in range(rounds + 1):
            for way, round_trip in ways.items():
                for size, payload in payloads.items():
                    samples_us = measure(lambda: round_trip(payload))  # noqa: B023
                    if turn:  # the first round warms up
                        found.setdefault((size, way), []).extend(samples_us)
    for (size, way), samples_us in sorted(found.items(), key=lambda item: SIZES_BYTES[item[0][0]]):
        print(line(f"{size:>7} {way}", samples_us))
    share = float(np.median(found["353 KB", "this ring"]) / np.median(found["353 KB", "multiprocessing.Queue"]))
    print(f"353 KB: the ring's p50 is {share:.2f} of multiprocessing.Queue's (target: at most {TARGET_SHARE:.2f})")
    return share <= TARGET_SHARE


def compare_bells(rounds: int) -> None:
    """Prints one reply eventfd per lane against one per slot."""
    found: dict[tuple[int, str], list[float]] = {}
    with ring(lanes=1, slots=32) as per_lane, ring(lanes=32, slots=1) as per_slot:
        for turn in range(rounds + 1):
            for way, made in (("per lane", per_lane), ("per slot", per_slot)):
                for count in IN_FLIGHT:
                    samples_us = measure(lambda: made.round_trip(SMALL, count=count), SAMPLES // 4)  # noqa: B023
                    if turn:
                        found.setdefault((count, way), []).extend(samples_us)
    for (count, way), samples_us in sorted(found.items()):
        print(line(f"{count:3} at once, one reply eventfd {way}", samples_us))


class Queued:
    """A segment of 1,024 slots of which `ready` are READY whenever a batch is taken, in this process alone."""

    def __init__(self, ready: int) -> None:
        self.ring = Ring(lanes=32, slots=32, payload_bytes=SMALL.nbytes)
        self._steward = Steward(self.ring.segment)
        name = self._steward.new_name(1, 1)
        self._taker = Taker(self.ring.segment, name, self.ring.lease, self.ring.doorbell, self.ring.bells)
        self._lanes = list(self.ring.owners.values())
        offer(SMALL, self._lanes, ready)

    def take_us(self) -> float:
        """Microseconds to take a batch of 8; then it is answered, and as many requests are offered again."""
        policy = BatchPolicy(max_batch=min(READY), aging_ns=NS_PER_S)
        start_ns = time.perf_counter_ns()
        batch = self._taker.take(lambda ready: ready.choose(policy, now_ns()))
        took_us = (time.perf_counter_ns() - start_ns) / 1000
        answers = np.full((len(batch), CLASSES), 1 / CLASSES, dtype=np.float32)
        self._taker.reply([BatchReply(batch, Outcome.OK, answers, batch_size=len(batch))])
        emptied = [self._lanes[slot // self.ring.segment.geometry.slots] for slot in batch.slots]
        for lane in emptied:
            lane.harvest()
        offer(SMALL, emptied, len(batch))
        return took_us

    def close(self) -> None:
        self._steward.close()
        self.ring.close()


def compare_takes(rounds: int) -> bool:
    """Prints what taking a batch costs by how much is READY; whether that keeps to its target."""
    queued = {ready: Queued(ready) for ready in READY}
    found: dict[int, list[float]] = {ready: [] for ready in READY}
    for turn in range(rounds + 1):
        for ready, each in queued.items():
            samples_us = [each.take_us() for _ in range(SAMPLES)]
            if turn:
                found[ready] += samples_us
    for ready, samples_us in found.items():
        print(line(f"taking a batch of {min(READY)} out of {ready:5,} READY", samples_us))
        queued[ready].close()
    times = float(np.median(found[max(READY)]) / np.median(found[min(READY)]))
    print(f"out of {max(READY):,} READY it takes {times:.2f} times as long (target: at most {TARGET_TAKE:.2f})")
    return times <= TARGET_TAKE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--serve", type=int, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_ring(options.serve)
        return 0
    kept = compare_mechanisms(options.rounds)
    compare_bells(options.rounds)
    return 0 if compare_takes(options.rounds) and kept else 1


if __name__ == "__main__":
    sys.exit(main())
