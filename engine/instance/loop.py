"""The loop that does the work: take a batch, compute, reply, look again, sleep only when there is nothing.

It is the only thread of the instance that touches slots, so the progress counter it moves is proof of work.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
from collections.abc import Callable, Sequence
from typing import Any

from engine.clock import NS_PER_MS, now_ns
from engine.control.link import ControlLink
from engine.core.batching import choose
from engine.errors import PeerGone
from engine.instance.batch import BatchProcessor
from engine.shm.bell import Bell
from engine.shm.board import InstanceBoard
from engine.shm.taker import Taker

BELT_S = 1.0  # the longest sleep: a doorbell lost to a bug costs a second, not a hang


class InstanceLoop:
    """Drains the deployment's lanes until told to leave."""

    def __init__(
        self,
        *,
        taker: Taker,
        processor: BatchProcessor,
        board: InstanceBoard,
        doorbell: Bell,
        control: ControlLink,
        aging_ms: float,
        warnings: Sequence[str],
        wanted: Callable[[], bool],
    ) -> None:
        """`warnings`: what warming up found that an operator should know."""
        self._taker = taker
        self._processor = processor
        self._board = board
        self._doorbell = doorbell
        self._control = control
        self._choose = functools.partial(choose, aging_ns=int(aging_ms * NS_PER_MS))
        self._wanted = wanted
        self._leaving = False
        self._warnings = list(warnings)
        self._told: int | None = None  # the largest batch as this supervisor knows it; None: it knows nothing
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = select.epoll()

    def run(self) -> None:
        """Returns after `detach`, a signal, or when neither supervisor nor frontends are left. Raises Poisoned."""
        self._poller.register(self._doorbell.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._poller.register(self._wake_fd, select.EPOLLIN)
        self._watch_control()
        self._report()
        signal.signal(signal.SIGTERM, self.handle_term)
        try:
            while not self._leaving:
                self._step()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._poller.close()
            os.close(self._wake_fd)

    def handle_term(self, *_: object) -> None:
        """Asks the loop to leave after the batch at hand. Only enqueues: it runs between any two bytecodes."""
        os.eventfd_write(self._wake_fd, 1)

    def _step(self) -> None:
        """One batch if there is one, else one sleep."""
        most = self._processor.ceiling.look(now_ns())
        batch = self._taker.take(lambda candidates: self._choose(candidates, max_batch=most, now_ns=now_ns()))
        if batch:
            counts = self._processor.process(batch)
            self._board.add_all(
                (
                    ("batches", 1),
                    ("requests", counts.computed),
                    ("failed", counts.failed),
                    ("busy_ns", counts.busy_ns),
                    ("progress", 1),
                )
            )
            self._handle_events(timeout_s=0)
        else:
            self._sleep()

    def _sleep(self) -> None:
        """Until the doorbell rings (drained before the next look) or anything else happens."""
        rung = False
        while not (rung or self._leaving):
            fds, timed_out = self._handle_events(timeout_s=BELT_S)
            rung = timed_out or (self._doorbell.fileno() in fds and self._doorbell.drain())
        self._board.add("progress", 1)

    def _handle_events(self, *, timeout_s: float) -> tuple[set[int], bool]:
        """Polls once; acts on everything but the doorbell."""
        ready = {fd for fd, _ in self._poller.poll(timeout_s)}
        if self._wake_fd in ready:
            self._leaving = True
        if self._control.is_open:
            if self._control.fileno() in ready:
                self._read_control()
        elif self._control.try_open():
            self._told = None
            self._watch_control()
        elif not self._wanted():
            self._leaving = True
        self._report()
        return ready, not ready

    def _read_control(self) -> None:
        fd = self._control.fileno()
        try:
            self._control.receive_all(self._handle_message)
        except PeerGone:
            self._poller.unregister(fd)
            self._control.drop()

    def _handle_message(self, message: dict[str, Any], fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        if message["type"] == "detach":
            self._leaving = True

    def _report(self) -> None:
        """Tells whichever supervisor there is what it does not know yet."""
        most = self._processor.ceiling.limit
        if most != self._told and self._control.is_open:
            with contextlib.suppress(PeerGone):  # the next poll finds that out, and the next supervisor is told
                self._control.send({"type": "report", "max_batch": most, "warnings": self._warnings})
                self._told = most

    def _watch_control(self) -> None:
        if self._control.is_open:
            self._poller.register(self._control.fileno(), select.EPOLLIN)
