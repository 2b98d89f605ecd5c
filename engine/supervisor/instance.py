"""One instance as the supervisor knows it: a process, a state, and a connection while there is one."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from engine.clock import NS_PER_S, now_ns
from engine.core.lifecycle import InstanceEvent, InstanceState
from engine.launch.identity import Identity, send_signal
from engine.supervisor.peer import Peer

_log = logging.getLogger(__name__)


class Instance:
    """`state` changes only through `advance`. The pidfd is the instance's own copy, closed by the pool at its death."""

    def __init__(self, *, key: str, seat: int, device: str, identity: Identity, pidfd: int) -> None:
        self.key = key
        self.seat = seat
        self.device = device
        self.identity = identity
        self.pidfd = pidfd
        self.state = InstanceState.STARTING
        self.name = 0  # in its segment; 0 until it is attached
        self._told: set[str] = set()
        self.peer: Peer | None = None
        self.error = ""  # what it said when it failed
        self.killed_by_us = False  # changed by `kill` alone
        self.turned_away = False  # it loaded another model than its version has
        self.warmup_ms: dict[str, float] = {}
        self.weights_bytes: int | None = None  # of the form that it computes; None: it has not said
        self.max_batch = 0  # most items that fit into its memory; 0: it has not said
        self.warnings: list[str] = []  # what it found when it warmed up
        self.started_at_ns = now_ns()
        self.ready_at_ns = 0
        self.leaves_since_ns = 0  # when it was told to leave, or said that it would

    @classmethod
    def adopted(cls, *, seat: int, device: str, identity: Identity, pidfd: int, name: int) -> Instance:
        """One that a predecessor started and that takes work; its connection comes with its hello."""
        found = cls(key="", seat=seat, device=device, identity=identity, pidfd=pidfd)
        found.state, found.name, found.ready_at_ns = InstanceState.READY, name, now_ns()
        return found

    def advance(self, event: InstanceEvent) -> None:
        """Raises InternalError for an event that cannot happen in this state."""
        self.state = self.state.after(event)
        if event is InstanceEvent.WARMED:
            self.ready_at_ns = now_ns()

    @contextlib.contextmanager
    def advancing(self, event: InstanceEvent) -> Iterator[None]:
        """Advances for what is done inside; should that fail, the event has not happened and can come again."""
        before = self.state
        self.advance(event)
        with contextlib.ExitStack() as undo:
            undo.callback(self._go_back, self.state, before)
            yield
            undo.pop_all()

    def _go_back(self, reached: InstanceState, before: InstanceState) -> None:
        """Unless it has gone further meanwhile, which then did happen."""
        if self.state is reached:
            self.state = before

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Nothing happens while it is not connected."""
        if self.peer is not None:
            self.peer.send(message, fds)

    def tell(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Sends an order of which there is one of each type in an instance's life; what was sent already is not."""
        if message["type"] not in self._told:
            self.send(message, fds)
            self._told.add(message["type"])

    def was_told(self, order: str) -> bool:
        """Whether `tell` has sent an order of this type."""
        return order in self._told

    def kill(self) -> None:
        """SIGKILL; its death is learnt from the pidfd."""
        self.killed_by_us = True
        send_signal(self.pidfd, signal.SIGKILL)

    def note(self, max_batch: int, warnings: list[str]) -> None:
        """What it tells of itself while it works, for status and log."""
        for warning in warnings:
            if warning not in self.warnings:
                _log.warning("instance %d: %s", self.identity.pid, warning)
        if self.max_batch and max_batch != self.max_batch:
            _log.warning("instance %d: batches of at most %d from now on", self.identity.pid, max_batch)
        self.max_batch, self.warnings = max_batch, warnings

    @property
    def uptime_s(self) -> float:
        """Seconds since the process was started or adopted."""
        return (now_ns() - self.started_at_ns) / NS_PER_S

    @property
    def ran_s(self) -> float:
        """How long it has been ready, in seconds."""
        return (now_ns() - self.ready_at_ns) / NS_PER_S if self.ready_at_ns else 0.0
