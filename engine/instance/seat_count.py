"""What an instance counts for the seat that it has in the pool: in the machine segment, once there is one."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable

from engine.clock import NS_PER_S, now_ns
from engine.control.process_holds import MACHINE, ProcessHolds
from engine.errors import ProtocolError
from engine.shm.machine import MachineSegment
from engine.shm.seat_row import SeatRow

_log = logging.getLogger(__name__)
_LOOK_EVERY_NS = NS_PER_S  # at the device's memory


class SeatCount:
    """Of one instance, from before it says that it is ready: whoever is seen to work must be missed when it dies."""

    def __init__(
        self, deployment_id: str, seat: int, device: int, memory: Callable[[], tuple[int, int] | None]
    ) -> None:
        """`memory`: bytes in use and in all of the device, by whomever; None where it has none of its own."""
        self.row = SeatRow(deployment_id, seat, device)
        self._memory = memory
        self._machine: MachineSegment | None = None
        self._number = 0  # of the hold that was looked at last
        self._look_at_ns = 0

    def meet(self, holds: ProcessHolds) -> None:
        """Goes on in the newest machine segment there is. Never raises: without one it counts in private."""
        hold = holds.get(MACHINE)
        if hold is None or hold.number <= self._number:
            return
        self._number = hold.number
        try:
            with contextlib.ExitStack() as undo:
                machine = MachineSegment.attach(os.dup(hold.fds[0]))
                undo.callback(machine.close)
                if not self.row.move_to(machine):
                    _log.warning("what this instance counts is not seen: all rows for seats are taken")
                    return
                undo.pop_all()
        except (OSError, ProtocolError) as error:
            _log.warning("what this instance counts is not seen by others: %s", error)
            return
        before, self._machine = self._machine, machine
        if before is not None:
            before.close()

    def work(self) -> None:
        """It takes what comes: its seat says so until it is closed, or the process dead."""
        self.row.set("working", 1)

    def look(self) -> None:
        """To be called often; tells of the device's memory once a second."""
        moment_ns = now_ns()
        if moment_ns < self._look_at_ns:
            return
        self._look_at_ns = moment_ns + _LOOK_EVERY_NS
        memory = self._memory()
        if memory is not None:
            self.row.set("memory_used_bytes", memory[0])
            self.row.set("memory_total_bytes", memory[1])

    def close(self) -> None:
        """It leaves in good order. Idempotent."""
        self.row.close()
        if self._machine is not None:
            self._machine.close()
