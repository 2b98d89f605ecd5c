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
from numpy.typing import NDArray

from engine.clock import now_ns
from engine.core.batching import Candidate, choose
from engine.shm.bell import Bell
from engine.shm.board import InstanceBoard
from engine.shm.lease import Lease
from engine.shm.segment import Segment
from engine.shm.taker import Outcome, SlotResult, TakenSlot, Taker

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
    while True:
        taken = taker.take(lambda found: _choose(found, max_batch))
        if taken:
            _serve(taker, taken, classes, gate_fd)
            board.add("batches")
            board.add("requests", len(taken))
            continue
        if any(fd == 0 for fd, _ in poller.poll()):
            return
        doorbell.drain()


def _choose(found: list[Candidate], max_batch: int) -> list[int]:
    return choose(found, max_batch=max_batch, now_ns=now_ns(), aging_ns=10**12)


def _serve(taker: Taker, taken: list[TakenSlot], classes: int, gate_fd: int) -> None:
    if gate_fd >= 0:
        os.eventfd_read(gate_fd)
    taker.start(taken)
    inputs = [_input(slot) for slot in taken]
    if any(x[0] == DEADLY for x in inputs):
        os.kill(os.getpid(), signal.SIGKILL)
    taker.reply([_result(slot, x, classes, len(taken)) for slot, x in zip(taken, inputs, strict=True)])


def _input(slot: TakenSlot) -> NDArray[np.float32]:
    if slot.int16:
        return slot.payload.view(np.int16).astype(np.float32) * np.float32(slot.gain / 32768)
    return slot.payload.view(np.float32) * np.float32(slot.gain)


def _result(slot: TakenSlot, x: NDArray[np.float32], classes: int, batch: int) -> SlotResult:
    if x[0] == BROKEN:
        return SlotResult(slot, Outcome.MODEL_FAILED, None, "this item is broken", batch)
    answer = np.zeros(classes, np.float32)
    answer[: min(classes, len(x))] = x[:classes]
    return SlotResult(slot, Outcome.OK, answer, "", batch)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(numbers[0], numbers[1], numbers[4:], numbers[2], numbers[3])
