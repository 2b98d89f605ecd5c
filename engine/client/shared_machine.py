"""The machine segment as this client has it: the newest that any supervisor has offered, and who follows it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from engine.control.process_holds import MACHINE, ProcessHolds
from engine.errors import ProtocolError
from engine.shm.machine import MachineSegment

_log = logging.getLogger(__name__)


class SharedMachine:
    """Owns its mapping. `look` is for the thread that reads what the supervisor says; the rest is for any."""

    def __init__(self) -> None:
        self.current: MachineSegment | None = None
        self._number = 0  # of the hold that it maps, or that could not be mapped
        self._replaced: list[MachineSegment] = []  # somebody may still be reading in them; few
        self._followers: list[Callable[[MachineSegment], object]] = []
        self._lock = threading.Lock()  # around the list and what is to be told to all on it

    def look(self, holds: ProcessHolds) -> None:
        """After a welcome: maps what is newer than what is mapped, and tells those who follow."""
        hold = holds.get(MACHINE)
        if hold is None or hold.number <= self._number:
            return
        try:
            machine = MachineSegment.attach(os.dup(hold.fds[0]))
        except (ProtocolError, OSError) as error:
            _log.warning("counters and cache of this process are its own for now: %s", error)
            return  # looked at again with the next welcome
        with self._lock:
            if self.current is not None:
                self._replaced.append(self.current)
            self._number, self.current = hold.number, machine
            for follower in self._followers:
                follower(machine)

    def follow(self, follower: Callable[[MachineSegment], object]) -> None:
        """Calls `follower` with the segment there is, and with each that takes its place; it must be quick."""
        with self._lock:
            self._followers.append(follower)
            if self.current is not None:
                follower(self.current)

    def close(self) -> None:
        """Idempotent. Whoever has views of a segment keeps the mapping."""
        with self._lock:
            self._followers.clear()
            current, self.current = self.current, None
            for machine in (*self._replaced, *([current] if current is not None else [])):
                machine.close()
            self._replaced.clear()

    def let_go_in_child(self) -> None:
        """The segment lets go by itself; whoever held the lock does not exist here."""
        self._lock = threading.Lock()
        self._followers.clear()
        self.current = None
