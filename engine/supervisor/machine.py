"""Makes the machine segment, or goes on with the one that peers have brought back, and has the first row of it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os

from engine.clock import now_ns
from engine.control.process_holds import MACHINE, ProcessHold, ProcessHolds
from engine.errors import ProtocolError
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import SUPERVISOR_ROW, MachineGeometry
from engine.shm.process_row import ProcessRow

_log = logging.getLogger(__name__)


class MachineKeeper:
    """Of one supervisor. Before `begin`, and while there is too little memory, `row` counts in private."""

    def __init__(self, holds: ProcessHolds, geometry: MachineGeometry) -> None:
        """`geometry`: of a segment that has to be made."""
        self._holds = holds
        self._geometry = geometry
        self._hold: ProcessHold | None = None  # of which `machine` is a mapping
        self.machine: MachineSegment | None = None
        self.row = ProcessRow.private()

    def begin(self) -> bool:
        """Whether the segment is another one than before; nothing happens while the newest one is in use.

        Once everybody is back. Raises OutOfMemory, OSError; may be repeated. For the loop, which goes on without.
        """
        found = self._holds.get(MACHINE)
        if found is not None and found is self._hold:
            return False
        machine = self._brought(found) or self._made(found)
        with contextlib.ExitStack() as undo:
            undo.callback(machine.close)
            if not self.row.move_to(machine, SUPERVISOR_ROW):
                raise OSError(errno.EBUSY, "another process has the supervisor's row of the machine segment")
            undo.pop_all()
        before, self.machine, self._hold = self.machine, machine, self._holds.get(MACHINE)
        if before is not None:
            before.close()
        return True

    def totals(self) -> dict[str, int]:
        """What all processes of the machine have counted; the supervisor alone, while there is no segment."""
        return self.row.figures() if self.machine is None else self.machine.process_totals()

    def close(self) -> None:
        """Gives the row back. Idempotent."""
        self.row.close()
        if self.machine is not None:
            self.machine.close()

    def _brought(self, found: ProcessHold | None) -> MachineSegment | None:
        """What a predecessor has made, unless another version of ours did: nobody here can read that."""
        if found is None:
            return None
        try:
            return MachineSegment.attach(os.dup(found.fds[0]))
        except ProtocolError as error:
            _log.warning("what processes have counted before is lost: %s", error)
            return None

    def _made(self, found: ProcessHold | None) -> MachineSegment:
        """A new one, offered to everybody from now on."""
        machine = MachineSegment.create(self._geometry)
        with contextlib.ExitStack() as undo:
            undo.callback(machine.close)
            fd = os.dup(machine.fd)
            undo.pop_all()
        # The number is the moment: newer than whatever a predecessor has made.
        number = now_ns() if found is None else max(now_ns(), found.number + 1)
        self._holds.keep(ProcessHold(MACHINE, number, (fd,)))
        return machine
