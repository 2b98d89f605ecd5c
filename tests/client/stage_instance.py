"""An instance for tests of the client: takes and answers by the real protocol, without a model.

It answers item x with the first `classes` numbers of x (int16 payloads scaled by gain / 32768). What it does besides is
in the item's first number: `DEADLY` kills it once the work counts as started, `BROKEN` fails that item alone.
Given a gate it computes one batch for each token in it.
"""

from __future__ import annotations

import os
import select
import signal
import sys

import numpy as np

from engine.clock import now_ns
from engine.core.batching import BatchPolicy
from engine.shm.batch import Batch, BatchReply
from engine.shm.bell import Bell
from engine.shm.board import InstanceBoard
from engine.shm.lease import Lease
from engine.shm.records import Outcome
from engine.shm.segment import Segment
from engine.shm.taker import Taker

DEADLY = -666.0
BROKEN = -13.0


def main(segment_fd: int, doorbell_fd: int, reply_fds: list[int], gate_fd: int, max_batch: int) -> None:
    """Serves until killed, or until its standard input closes."""
    segment = Segment.attach(segment_fd)
    name = int(sys.stdin.readline())
    classes = segment.geometry.reply_bytes // 4
    doorbell = Bell(doorbell_fd)
    taker = Taker(segment, name, Lease(segment.fd), doorbell, [Bell(fd) for fd in reply_fds])
    board = InstanceBoard(segment, name)
    poller = select.poll()
    poller.register(doorbell_fd, select.POLLIN)
    poller.register(0, select.POLLIN)
    policy = BatchPolicy(max_batch, 10**12)
    while True:
        taken = taker.take(lambda ready: ready.choose(policy, now_ns()))
        if taken:
            _serve(taker, taken, classes, gate_fd)
            board.add("batches")
            board.add("requests", len(taken))
            continue
        if any(fd == 0 for fd, _ in poller.poll()):
            return
        doorbell.drain()


def _serve(taker: Taker, taken: Batch, classes: int, gate_fd: int) -> None:
    if gate_fd >= 0:
        os.eventfd_read(gate_fd)
    taker.start(taken)
    samples, factors = taken.payloads()
    inputs = [item.astype(np.float32) * factor for item, factor in zip(samples, factors)]
    if any(x[0] == DEADLY for x in inputs):
        os.kill(os.getpid(), signal.SIGKILL)
    answers = np.zeros((len(taken), classes), np.float32)
    for row, x in zip(answers, inputs):
        row[: min(classes, len(x))] = x[:classes]
    broken = [k for k, x in enumerate(inputs) if x[0] == BROKEN]
    whole = [k for k in range(len(taken)) if k not in broken]
    taker.reply([
        BatchReply(taken.part(whole), Outcome.OK, answers[whole], "", len(taken)),
        BatchReply(taken.part(broken), Outcome.MODEL_FAILED, None, "this item is broken", len(taken)),
    ])


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(numbers[0], numbers[1], numbers[4:], numbers[2], numbers[3])
