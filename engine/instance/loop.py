"""The loop that does the work: take a batch and begin it, finish one, look again, sleep only when there is nothing.

It is the only thread of the instance that touches slots, so the progress counter it moves is proof of work. While one
batch computes another may be begun, where the device can take it: its payloads are copied meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Sequence
from typing import Any

from engine.clock import NS_PER_S, now_ns
from engine.control.link import ControlLink
from engine.errors import PeerGone
from engine.instance.demand import Demand
from engine.instance.intake import Intake
from engine.instance.leisure import Leisure
from engine.instance.notebook import Notebook
from engine.instance.processor import BatchProcessor
from engine.instance.seat_count import SeatCount
from engine.shm.bell import Bell
from engine.shm.board import InstanceBoard
from engine.shm.taker import Taker

QUIET_S = 0.5  # without work, until an instance runs its model for itself: after a pause like that nobody is in a hurry
MEETS_EVERY = 4  # batches of an instance that always has work, until it meets another size: two seconds in all
BELT_S = 1.0  # the longest sleep: a doorbell lost to a bug costs a second, not a hang


class InstanceLoop:
    """Drains the deployment's lanes until told to leave."""

    def __init__(
        self,
        *,
        taker: Taker,
        processor: BatchProcessor,
        board: InstanceBoard,
        seat: SeatCount,
        doorbell: Bell,
        control: ControlLink,
        leisure: Leisure,
        notebook: Notebook,
        aging_ms: float,
        longest_wait_ms: float,
        warnings: Sequence[str],
        demand: Demand,
    ) -> None:
        """`warnings`: what warming up found that an operator should know."""
        self._processor = processor
        self._in_flight = processor.in_flight
        self._board = board
        self._seat = seat
        self._doorbell = doorbell
        self._doorbell_fd = doorbell.fileno()
        self._control = control
        self._size = processor.size
        self._leisure = None if leisure.is_over else leisure
        self._notebook = notebook
        self._intake = Intake(taker, self._size, board, aging_ms=aging_ms, longest_wait_ms=longest_wait_ms)
        self._batches = 0
        self._worked_ns = now_ns()
        self._demand = demand
        self._missed_since_ns = now_ns()  # if there is no supervisor: since when
        self._leaving = False
        self._warnings = list(warnings)
        self._told: int | None = None  # the largest batch as this supervisor knows it; None: it knows nothing
        self._control_fd = -1  # while there is no supervisor
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = select.epoll()

    def run(self) -> None:
        """Returns after `detach`, a signal, or when neither supervisor nor frontends are left. Raises Poisoned."""
        self._poller.register(self._doorbell_fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._poller.register(self._wake_fd, select.EPOLLIN)
        self._watch_control()
        self._report()
        self._seat.work()
        signal.signal(signal.SIGTERM, self.handle_term)
        try:
            while not self._leaving:
                self._step()
            while self._processor.in_flight:
                self._finish()
            self._seat.close()  # not after an error: whoever follows is to be counted as one that follows a death
        finally:
            self._board.work()  # whoever leaves shares nothing
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._poller.close()
            os.close(self._wake_fd)
            self._notebook.close(self._size)

    def handle_term(self, *_: object) -> None:
        """Asks the loop to leave after what it has begun. Only enqueues: it runs between any two bytecodes."""
        os.eventfd_write(self._wake_fd, 1)

    def _step(self) -> None:
        """One batch begun or finished, if there is any; else one sleep."""
        batch = self._intake.take(self._pause, busy=bool(self._in_flight))
        if batch is not None:
            self._seat.row.add_taken(batch.waited_ns())
            self._processor.begin(batch)
        elif not self._in_flight:
            self._rest()
            return
        if batch is None or len(self._in_flight) == self._processor.most_in_flight:
            self._finish()
            self._handle_events(timeout_s=0)

    def _finish(self) -> None:
        counts = self._processor.finish()
        self._board.add_all(
            (
                ("batches", 1),
                ("requests", counts.computed),
                ("failed", counts.failed),
                ("busy_ns", counts.busy_ns),
                ("progress", 1),
            )
        )
        self._seat.row.add_batch(computed=counts.computed, failed=counts.failed, busy_ns=counts.busy_ns)
        self._intake.answered(counts.computed)
        self._batches += 1
        if self._leisure is not None:
            self._worked_ns = now_ns()
            self._leisure.met(counts.computed)
            if self._leisure.is_meeting and not self._in_flight and self._batches % MEETS_EVERY == 0:
                self._leisure.run()

    def _rest(self) -> None:
        """There is nothing to take."""
        if self._leisure is None:
            self._sleep(BELT_S)
        elif now_ns() - self._worked_ns < QUIET_S * NS_PER_S:
            self._sleep(QUIET_S)
        else:
            self._board.work()
            self._leisure.run()
            self._board.add_all((("progress", 1),))
            if self._leisure.is_over:
                self._leisure = None
                self._notebook.write(self._size)
            self._handle_events(timeout_s=0)

    def _sleep(self, longest_s: float) -> None:
        """Until the doorbell rings (drained before the next look) or anything else happens."""
        rung = False
        self._board.rest()
        while not (rung or self._leaving):
            ready = self._handle_events(timeout_s=longest_s)
            rung = not ready or (self._doorbell_fd in ready and self._doorbell.drain())
        self._board.add_all((("progress", 1),))

    def _pause(self, longest_s: float) -> bool:
        """Until the doorbell rings (then it is drained) or so long; False once it is to leave."""
        if self._doorbell_fd in self._handle_events(timeout_s=longest_s):
            self._doorbell.drain()
        return not self._leaving

    def _handle_events(self, *, timeout_s: float) -> dict[int, int]:
        """Polls once; acts on everything but the doorbell. The descriptors that were ready; none: it timed out."""
        ready = dict(self._poller.poll(timeout_s))
        if self._wake_fd in ready:
            self._leaving = True
        if self._control_fd in ready:
            self._read_control()
        elif self._control_fd < 0:
            self._look_for_supervisor()
        self._seat.look()
        if self._size.ceiling.limit != self._told:
            self._report()
            self._notebook.note(self._size)
        return ready

    def _look_for_supervisor(self) -> None:
        if self._control.try_open():
            self._told = None
            self._watch_control()
        elif not self._demand.lasts(self._missed_since_ns):
            self._leaving = True

    def _read_control(self) -> None:
        try:
            self._control.receive_all(self._handle_message)
            self._seat.meet(self._control.process)
        except PeerGone:
            self._poller.unregister(self._control_fd)
            self._control_fd = -1
            self._control.drop()
            self._missed_since_ns = now_ns()

    def _handle_message(self, message: dict[str, Any], fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        if message["type"] == "detach":
            self._leaving = True

    def _report(self) -> None:
        """Tells whichever supervisor there is what it does not know yet."""
        most = self._size.ceiling.limit
        if self._control.is_open:
            with contextlib.suppress(PeerGone):  # the next poll finds that out, and the next supervisor is told
                self._control.send({"type": "report", "max_batch": most, "warnings": self._warnings})
                self._told = most

    def _watch_control(self) -> None:
        if self._control.is_open:
            self._control_fd = self._control.fileno()
            self._poller.register(self._control_fd, select.EPOLLIN)
